"""A body that a schema of the OpenAPI document takes: only what is required, each as plain as it may be."""

from typing import Any, Final

NAMED: Final[dict[str, Any]] = {
    "contact": "dora@example.ph",
    "admin_contact": "dora@example.ph",
    "time_zone": "Asia/Manila",
    "plate": "XYZ9876",
    "bank_code": "BOPIPHMM",
    "account_number": "1234567890",
    "currency": "PHP",
}
"""What must be more than a schema says, or has a pattern."""

_BY_FORMAT: Final = {
    "uuid": "00000000-0000-4000-8000-000000000000",
    "date-time": "2031-03-03T12:00:00Z",
    "date": "2031-03-03",
}


def sample(schema: dict[str, Any], document: dict[str, Any], given: dict[str, Any]) -> Any:
    """Return a value that the schema takes; `given` names properties that it is to have where it may."""
    if "$ref" in schema:
        return sample(document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], document, given)
    if several := schema.get("oneOf", schema.get("anyOf")):
        return sample(next(one for one in several if one.get("type") != "null"), document, given)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema.get("type", "object"):
        case "object":
            return _object(schema, document, given)
        case "array":
            return [sample(schema["items"], document, given)] * schema.get("minItems", 0)
        case kind:
            return _plain(kind, schema)


def _plain(kind: str, schema: dict[str, Any]) -> Any:
    if kind == "string":
        return _BY_FORMAT.get(schema.get("format", ""), "x" * schema.get("minLength", 1))
    return {"integer": int(schema.get("minimum", 1)), "number": schema.get("minimum", 1), "boolean": False}[kind]


def _object(schema: dict[str, Any], document: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    known = NAMED | given
    properties = schema.get("properties", {})
    return {
        name: known[name] if name in known else sample(inner, document, given)
        for name, inner in properties.items()
        if name in schema.get("required", ()) or name in given
    }
