-- name: add
INSERT INTO tenants (tenant_id, kind, name) VALUES (%(tenant_id)s, 'operator', %(name)s)

-- name: members
SELECT person_id, people.name, coalesce(email, phone) AS contact, role, granted_at
FROM memberships JOIN people USING (person_id)
WHERE tenant_id = acting_tenant()
ORDER BY people.name, person_id, role

-- name: person_of
SELECT person_id FROM people WHERE email = %(contact)s OR phone = %(contact)s

-- name: grant
INSERT INTO memberships (tenant_id, person_id, role, tenant_kind)
SELECT tenant_id, %(person_id)s, %(role)s, kind FROM tenants WHERE tenant_id = acting_tenant()
ON CONFLICT DO NOTHING
RETURNING person_id

-- name: revoke
DELETE FROM memberships
WHERE tenant_id = acting_tenant() AND person_id = %(person_id)s AND role = %(role)s
RETURNING person_id

-- name: audit
INSERT INTO audit_entries (actor, tenant_id, action, details)
VALUES (acting_person(), acting_tenant(), %(action)s, %(details)s)

-- name: grant_platform
INSERT INTO memberships (tenant_id, person_id, role, tenant_kind)
SELECT tenant_id, person_id, %(role)s, tenants.kind
FROM tenants, people
WHERE tenants.kind = 'platform' AND (email = %(contact)s OR phone = %(contact)s)
ON CONFLICT DO NOTHING
RETURNING person_id, tenant_id

-- name: audit_platform
INSERT INTO audit_entries (tenant_id, action, details) VALUES (%(tenant_id)s, 'member.granted', %(details)s)
