"""An app on a real socket, in a thread."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from litestar import Litestar
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


@contextmanager
def serving(build: Callable[[str], Litestar]) -> Iterator[str]:
    """Serve the app that is built for an address; give the address."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(build(address), log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield address
        server.should_exit = True
        thread.join()


def wait_for(browser: Chrome, css: str) -> None:
    """Wait until something that the selector names is shown."""

    def is_shown(_: Chrome) -> bool:
        return any(one.is_displayed() for one in browser.find_elements(By.CSS_SELECTOR, css))

    WebDriverWait(browser, 20).until(is_shown)
