"""`parkpal payments-simulator`: both payment providers, as a process of its own."""

import os
import sys

import click
import uvicorn

from parkpal.payments_simulator.app import SimulatorConfig, build_simulator
from parkpal.payments_simulator.books import Name
from parkpal.settings import Settings

DEFAULT_PORT = 8082


@click.command(name="payments-simulator")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=DEFAULT_PORT, show_default=True, help="0: a free one.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the chance by which faults happen.")
@click.option("--api", "api_url", help="Where webhooks go; default: PARKPAL_HOST and PARKPAL_PORT.")
def payments_simulator(host: str, port: int, seed: int, api_url: str | None) -> None:
    """Simulate PayMongo and Stripe, with pages to pay at and faults on demand, until Ctrl-C."""
    settings = Settings.read(os.environ)
    if settings.env == "production":
        click.echo("parkpal payments-simulator: not in production", err=True)
        sys.exit(1)
    socket = uvicorn.Config("", host=host, port=port, log_level="warning").bind_socket()
    socket.listen()  # from here on callers wait instead of being turned away
    url = "http://{}:{}".format(*socket.getsockname()[:2])
    hooks = f"{api_url or f'http://{settings.host}:{settings.port}'}/v1/payments/webhooks"
    addresses: dict[Name, str] = {"paymongo": f"{hooks}/paymongo", "stripe": f"{hooks}/stripe"}
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    app = build_simulator(
        SimulatorConfig(
            url=url,
            keys={"paymongo": settings.paymongo_secret_key, "stripe": settings.stripe_secret_key},
            webhook_secrets={
                "paymongo": settings.paymongo_webhook_secret,
                "stripe": settings.stripe_webhook_secret,
            },
            webhook_addresses=addresses,
            books=settings.data_dir / "payments-simulator.sqlite",
            seed=seed,
        )
    )
    click.echo(f"simulating payments at {url} (/paymongo, /stripe, /control), webhooks to {hooks}")
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1, ws="none")
    uvicorn.Server(config).run(sockets=[socket])
