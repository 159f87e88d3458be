"""The hosted page where somebody pays: the amount, a button for each rail, and the way back."""

from html import escape

from parkpal.payments_simulator.books import Checkout

_STYLE = (
    "body{font:16px/1.5 system-ui;max-width:26rem;margin:4rem auto;padding:0 1rem}"
    "button,a{display:block;width:100%;padding:.8rem;margin:.6rem 0;text-align:center;"
    "box-sizing:border-box;font:inherit}"
)


def checkout_page(checkout: Checkout) -> str:
    """Return the page of a checkout, in the state that it is in."""
    amount = f"{checkout.currency} {checkout.amount / 100:,.2f}"
    if checkout.status == "open":
        action = f"/checkout/{escape(checkout.checkout_id)}/pay"
        buttons = "".join(
            f'<button name="rail" value="{escape(rail)}">Pay with {escape(rail)}</button>' for rail in checkout.rails
        )
        rest = f'<form method="post" action="{action}">{buttons}</form>'
        rest += f'<a href="{escape(checkout.cancel_url)}">Go back without paying</a>' if checkout.cancel_url else ""
    else:
        rest = f"<p>This checkout is {checkout.status}.</p>"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{amount}</title><style>{_STYLE}</style>"
        f"<p>Simulated checkout of {checkout.provider}: no money moves.</p>"
        f"<h1>{amount}</h1><p>{escape(checkout.description)}</p>{rest}</html>"
    )
