"""Serves the page, by default to this computer only, without contacting other servers; deletes its files."""

import ctypes
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from filelock import FileLock

from pkdn_lightning.console import console
from pkdn_lightning.demo.examples import write_examples
from pkdn_lightning.demo.limits import Limits
from pkdn_lightning.demo.restorers import Models, load_models
from pkdn_lightning.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

SWEEPER = "pkdn-demo-sweeper"

_FOLDERS = "pkdn_demo_"
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # from malloc.h
_LOCK = ".lock"  # in each folder; held by the serving process, released by the system when it ends
_SESSIONS = 64  # visitors whose results are kept at the same time; one takes up to 5 MB
_PRIVACY = {
    "GRADIO_ANALYTICS_ENABLED": "False",  # no telemetry, no version check
    "HF_HUB_OFFLINE": "1",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SHARE": "False",
    "GRADIO_MCP_SERVER": "False",
}


def serve(cfg: "DictConfig") -> None:
    """Serves the page until the process is stopped; see `demo.demo`."""
    if find_spec("gradio") is None:
        raise ConfigError("The demo needs Gradio, which is an extra: pip install 'pkdn-lightning[demo]'")
    from pkdn_lightning.demo.own_address import LOOPBACK

    limits = Limits(**{key: cfg[key] for key in Limits._fields})
    _check_address(cfg.host, cfg.port)
    _tune_allocator()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio's requests to itself
    models = load_models(cfg)  # before the hub is set offline for Gradio: a model may come from the hub
    with _sigterm_as_ctrl_c(), serving(models, limits, cfg) as address:
        console.print(f"{', '.join(model.name for model in models.all())}: {address}\nStop with Ctrl-C.")
        if cfg.host not in LOOPBACK:
            words = "everyone who can reach this computer can use the page. Names other than its own: names=[...]"
            console.print(f"host={cfg.host}: {words}", style="yellow")
        while True:
            time.sleep(3600)


@contextmanager
def serving(models: Models, limits: Limits, cfg: "DictConfig") -> Iterator[str]:
    """Serves the page and yields its address.

    Args:
        models: The models.
        limits: Limits per user.
        cfg: `host`, `port`, `browser`, `queue`, `concurrent`.

    Raises:
        ConfigError: If the port is in use.
    """
    with (
        tempfile.TemporaryDirectory(prefix=_FOLDERS, ignore_cleanup_errors=True) as name,
        FileLock(Path(name) / _LOCK, timeout=0),
    ):
        folder = Path(name).resolve()
        remove_abandoned(folder)
        os.environ.update(_PRIVACY, GRADIO_TEMP_DIR=str(folder))  # read when Gradio is imported, and later
        page = _launched(models, limits, cfg, folder)
        stop = threading.Event()
        ours = frozenset(folder.rglob("*"))
        work = (page, folder, limits.keep_s, ours, stop)
        sweeper = threading.Thread(target=_sweep, args=work, name=SWEEPER, daemon=True)
        sweeper.start()
        try:
            yield page.local_url
        finally:
            stop.set()
            page.close(verbose=False)
            sweeper.join()


def _check_address(host: str, port: int | None) -> None:
    """Checks that the page can be served there, before models are loaded: Gradio waits for a name that is not known.

    Raises:
        ConfigError: If it cannot.
    """
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        with socket.create_server((host, port or 0), family=family):
            pass
    except (OSError, UnicodeError) as error:  # UnicodeError: no valid name
        raise _unavailable(host, port, error) from error


def _unavailable(host: str, port: int | None, error: Exception) -> ConfigError:
    return ConfigError(
        f"The page cannot be served at {host}, port {port or '7860 to 7959'}: {error}.\n"
        "Set another: port=8000, host=127.0.0.1"
    )


def remove_abandoned(folder: Path) -> None:
    """Removes the folders of killed demos.

    Args:
        folder: This demo's folder. Folders beside it are removed, except those of other users and running demos.
    """
    for lock in folder.parent.glob(f"{_FOLDERS}*/{_LOCK}"):
        left = lock.parent
        with suppress(OSError):  # in use by a running demo (filelock.Timeout), or just removed by another
            if not left.is_symlink() and left.stat().st_uid == folder.stat().st_uid:
                with FileLock(lock, timeout=0):
                    shutil.rmtree(left)


def _launched(models: Models, limits: Limits, cfg: "DictConfig", folder: Path) -> Any:
    from starlette.middleware import Middleware

    from pkdn_lightning.demo import page as design
    from pkdn_lightning.demo.own_address import OwnAddressOnly
    from pkdn_lightning.demo.uploads import UploadTimeout

    examples = write_examples(folder / "examples", models.first.small[0].lr_px)
    page = design.build_page(models, limits, examples, folder)
    has_screen = sys.platform in ("win32", "darwin") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    page.queue(max_size=cfg.queue, default_concurrency_limit=cfg.concurrent, api_open=False)
    try:
        page.launch(
            server_name=cfg.host,
            server_port=cfg.port,
            inbrowser=cfg.browser and has_screen,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            state_session_capacity=_SESSIONS,
            max_file_size=int(limits.upload_mb * 1e6),
            app_kwargs={
                "middleware": [
                    Middleware(OwnAddressOnly, host=cfg.host, names=list(cfg.names)),
                    Middleware(UploadTimeout, seconds=limits.upload_s),
                ]
            },
            theme=design.theme(),
            css_paths=design.STYLE,
        )
    except OSError as error:
        raise _unavailable(cfg.host, cfg.port, error) from error
    return page


def _tune_allocator() -> None:
    """Makes glibc's allocator reuse memory, instead of growing with the threads that serve requests; elsewhere nothing.

    With its defaults, freed pictures stay in the arenas of idle threads, and between smaller objects.
    """
    with suppress(OSError, AttributeError, TypeError):
        glibc = ctypes.CDLL(None)
        glibc.mallopt(_M_ARENA_MAX, 2)
        glibc.mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def _release_memory() -> None:
    """Returns freed memory to the system, where the C library is glibc."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _sweep(page: Any, folder: Path, keep_s: float, ours: frozenset[Path], stop: threading.Event) -> None:
    """Deletes old files and results until `stop` is set."""
    while not stop.wait(min(keep_s / 4, 30)):
        sweep(folder, keep_s, ours)
        forget_sessions(page.state_holder, keep_s)
        _release_memory()


def forget_sessions(sessions: Any, keep_s: float) -> None:
    """Removes what Gradio keeps of visitors who have done nothing for `keep_s`: their results, images included.

    Gradio itself keeps the last results of every visitor until it ends.

    Args:
        sessions: Gradio's `StateHolder`.
        keep_s: Time in seconds.
    """
    oldest = datetime.now() - timedelta(seconds=keep_s)  # as Gradio counts
    with sessions.lock:
        for name, used in list(sessions.time_last_used.items()):
            if used < oldest:
                sessions.session_data.pop(name, None)
                sessions.time_last_used.pop(name, None)


def sweep(folder: Path, keep_s: float, ours: frozenset[Path] = frozenset()) -> None:
    """Deletes files in a folder that are older than `keep_s`, and empty folders.

    Gradio's own deletion misses interrupted uploads and leaves the folders.
    """
    for path in sorted(set(folder.rglob("*")) - ours, reverse=True):  # contents before their folder
        try:
            if path.is_dir():
                if time.time() - path.stat().st_mtime > keep_s and not any(path.iterdir()):
                    path.rmdir()
            elif time.time() - path.stat().st_mtime > keep_s:
                path.unlink()
        except OSError:  # already deleted, or a new file arrived
            continue


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Treats SIGTERM as Ctrl-C, so that all files are deleted."""

    def end(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
