"""Who may call each route: one table. The OpenAPI document shows it, a test tries every route as everybody else.

A route that does not stand here fails that test. What decides stays where the work is done (guards, `require_role`,
row-level security): the table says what must come of it.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from litestar import Router
from litestar.routes import HTTPRoute

from api.api_keys import ANALYTICS_READ, GEOFENCES_READ, GEOFENCES_WRITE, LIVE_READ

_PARAMETER: Final = re.compile(r"\{(\w+):\w+\}")


class Who(NamedTuple):
    """A kind of credentials, and what of it is enough: one of these roles, or this scope.

    A role counts in the tenant that the path, or the booking or place in it, belongs to; those of the platform count
    everywhere. `driver` is the one whom a booking belongs to. Without any, each sees and changes what is their own.
    """

    scheme: str | None
    any_of: tuple[str, ...] = ()


def _person(*roles: str) -> Who:
    return Who("accessToken", roles)


def _key(scope: str) -> Who:
    return Who("apiKey", (scope,))


ANYBODY: Final = Who(None)
PHONE: Final = Who("deviceToken")
PROVIDER: Final = Who("webhookSignature")
BEARER_OF_URL: Final = Who("signedUrl")

_OWNERS: Final = ("host", "operator_admin")
_OFFICE: Final = ("support", "platform_admin")
_GATE: Final = ("attendant", "operator_admin")
_STAFF: Final = ("host", "attendant", "operator_admin", "operator_analyst")

_TABLE: Final[tuple[tuple[Who, str], ...]] = (
    (
        ANYBODY,
        """
        get /health/live
        get /health/ready
        get /metrics
        post /v1/devices
        post /v1/auth/sign-up
        post /v1/auth/confirm
        post /v1/auth/sign-in
        post /v1/auth/refresh
        post /v1/auth/sign-out
        post /v1/auth/reset
        post /v1/auth/reset/confirm
        """,
    ),
    (
        PHONE,
        """
        get /v1/devices/me
        delete /v1/devices/me
        put /v1/devices/me/consent
        post /v1/events
        """,
    ),
    (PROVIDER, "post /v1/payments/webhooks/{provider}"),
    (BEARER_OF_URL, "get /v1/photos/{photo_id}"),
    (
        _key(GEOFENCES_READ),
        """
        get /v1/geofences
        get /v1/geofences/{fence_id}
        """,
    ),
    (
        _key(GEOFENCES_WRITE),
        """
        post /v1/geofences
        put /v1/geofences/{fence_id}
        delete /v1/geofences/{fence_id}
        """,
    ),
    (
        _key(ANALYTICS_READ),
        """
        get /v1/analytics/cells
        get /v1/analytics/search-times
        get /v1/analytics/zones/{zone_id}/metrics
        get /v1/zones
        """,
    ),
    (_key(LIVE_READ), "get /v1/live"),
    (
        _person(),
        """
        get /v1/me
        patch /v1/me
        put /v1/me/consent
        get /v1/me/export
        post /v1/me/erase
        post /v1/me/password
        post /v1/me/contacts
        post /v1/me/contacts/confirm
        post /v1/me/devices
        put /v1/me/push-tokens
        delete /v1/me/push-tokens/{token}
        get /v1/passes
        get /v1/vehicles
        post /v1/vehicles
        delete /v1/vehicles/{vehicle_id}
        get /v1/wallet
        get /v1/wallet/paybacks
        post /v1/wallet/paybacks
        get /v1/search
        get /v1/zones/{zone_id}/availability
        post /v1/quotes
        get /v1/bookings
        post /v1/bookings
        post /v1/walk-ups
        get /v1/walk-ups/{space_id}
        get /v1/spaces/{place_id}
        get /v1/spaces/{place_id}/reviews
        get /v1/spaces/{place_id}/photos
        get /v1/reviews
        post /v1/reviews/{review_id}/report
        post /v1/hosts/me/spaces
        get /v1/hosts/me/suggested-price
        """,
    ),
    (
        _person("driver"),
        """
        post /v1/bookings/{booking_id}/checkout
        get /v1/bookings/{booking_id}/receipt
        get /v1/bookings/{booking_id}/code
        post /v1/bookings/{booking_id}/confirm
        post /v1/bookings/{booking_id}/extend
        post /v1/bookings/{booking_id}/late
        post /v1/bookings/{booking_id}/report
        post /v1/bookings/{booking_id}/photos
        """,
    ),
    (
        _person("driver", "host", *_GATE, *_OFFICE),
        """
        get /v1/bookings/{booking_id}
        get /v1/bookings/{booking_id}/history
        get /v1/bookings/{booking_id}/reports
        get /v1/bookings/{booking_id}/photos
        post /v1/bookings/{booking_id}/check-in
        post /v1/bookings/{booking_id}/check-out
        """,
    ),
    (
        _person("driver", *_OWNERS, *_OFFICE),
        """
        post /v1/bookings/{booking_id}/cancel
        get /v1/bookings/{booking_id}/cancel
        post /v1/reviews
        """,
    ),
    (_person(*_OWNERS, *_OFFICE), "post /v1/bookings/{booking_id}/approve"),
    (
        _person(*_OWNERS),
        """
        post /v1/spaces/{place_id}/photos
        put /v1/spaces/{place_id}/photos/order
        delete /v1/spaces/{place_id}/photos/{photo_id}
        """,
    ),
    (
        _person("host"),
        """
        get /v1/hosts/me/spaces
        put /v1/hosts/me/spaces/{place_id}
        get /v1/hosts/me/spaces/{place_id}/sheet
        get /v1/hosts/me/blocks
        post /v1/hosts/me/blocks
        delete /v1/hosts/me/blocks/{block_id}
        get /v1/hosts/me/bookings
        get /v1/hosts/me/payouts
        get /v1/hosts/me/bank-account
        put /v1/hosts/me/bank-account
        """,
    ),
    (
        _person(*_STAFF),
        """
        get /v1/operators/{operator_id}/spaces
        get /v1/operators/{operator_id}/spaces/{place_id}/sheet
        get /v1/operators/{operator_id}/lots
        get /v1/operators/{operator_id}/lots/{place_id}/sheet
        get /v1/operators/{operator_id}/blocks
        """,
    ),
    (
        _person(*_GATE),
        """
        get /v1/operators/{operator_id}/bookings
        post /v1/operators/{operator_id}/validation
        get /v1/operators/{operator_id}/cash/{booking_id}
        post /v1/operators/{operator_id}/cash
        post /v1/operators/{operator_id}/lots/{lot_id}/counts
        post /v1/operators/{operator_id}/lots/{lot_id}/days
        get /v1/operators/{operator_id}/passes
        post /v1/operators/{operator_id}/passes
        """,
    ),
    (_person("operator_admin"), "post /v1/operators/{operator_id}/passes/{pass_id}/end"),
    (
        _person(*_OWNERS),
        """
        get /v1/operators/{operator_id}/members
        put /v1/operators/{operator_id}/members
        delete /v1/operators/{operator_id}/members/{person_id}/{role}
        get /v1/operators/{operator_id}/attendants
        put /v1/operators/{operator_id}/attendants
        delete /v1/operators/{operator_id}/attendants/{person_id}
        post /v1/operators/{operator_id}/spaces
        put /v1/operators/{operator_id}/spaces/{place_id}
        post /v1/operators/{operator_id}/lots
        put /v1/operators/{operator_id}/lots/{place_id}
        post /v1/operators/{operator_id}/blocks
        delete /v1/operators/{operator_id}/blocks/{block_id}
        get /v1/operators/{operator_id}/payouts
        get /v1/operators/{operator_id}/bank-account
        put /v1/operators/{operator_id}/bank-account
        """,
    ),
    (
        _person(*_OFFICE),
        """
        get /v1/payments/refunds
        post /v1/payments/refunds
        get /v1/payments/disputes
        post /v1/reviews/{review_id}/hide
        """,
    ),
    (
        _person("operator_admin"),
        """
        get /v1/operators/{operator_id}/keys
        post /v1/operators/{operator_id}/keys
        post /v1/operators/{operator_id}/keys/{key_id}/rotate
        delete /v1/operators/{operator_id}/keys/{key_id}
        get /v1/operators/{operator_id}/webhooks
        post /v1/operators/{operator_id}/webhooks
        delete /v1/operators/{operator_id}/webhooks/{endpoint_id}
        post /v1/operators/{operator_id}/webhooks/{endpoint_id}/rotate
        post /v1/operators/{operator_id}/webhooks/{endpoint_id}/enable
        get /v1/operators/{operator_id}/webhooks/{endpoint_id}/deliveries
        post /v1/operators/{operator_id}/webhooks/{endpoint_id}/deliveries/{event_id}/replay
        post /v1/operators/{operator_id}/webhooks/{endpoint_id}/replay
        """,
    ),
    (_person("operator_admin", "operator_analyst"), "get /v1/operators/{operator_id}/contracts"),
    (
        _person(*_GATE, "operator_analyst"),
        """
        get /v1/operators/{operator_id}/lots/{lot_id}/occupancy
        get /v1/operators/{operator_id}/lots/{lot_id}/day
        get /v1/operators/{operator_id}/lots/{lot_id}/days
        """,
    ),
    (
        _person("platform_admin"),
        """
        post /v1/operators
        post /v1/operators/{operator_id}/contracts
        delete /v1/operators/{operator_id}/contracts/{contract_id}
        post /v1/payments/refunds/{request_id}/approve
        post /v1/payments/refunds/{request_id}/refuse
        post /v1/payments/disputes/{dispute_id}/settle
        get /v1/payments/payouts
        post /v1/payments/payouts/{payout_id}/approve
        post /v1/payments/payouts/{payout_id}/drop
        post /v1/payments/payouts/{payout_id}/settle
        post /v1/payments/payouts/files/{rail}
        """,
    ),
)

WHO: Final[Mapping[tuple[str, str], Who]] = MappingProxyType(
    {(line.split()[0], line.split()[1]): who for who, lines in _TABLE for line in lines.strip().splitlines()}
)
"""Who may call, by method and path."""


def declare(routers: Iterable[Router]) -> None:
    """Write under each route's credentials, as the OpenAPI document shows them, what of them is enough."""
    for router in routers:
        for route in router.routes:
            path = _PARAMETER.sub(r"{\1}", route.path).rstrip("/")
            for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
                found = {WHO.get((method.lower(), path), ANYBODY) for method in handler.http_methods} - {ANYBODY}
                handler.security = [*router.security, *(handler.security or ())]
                if found:
                    handler.security = [{who.scheme: list(who.any_of)} for who in found if who.scheme]
        router.security = []
