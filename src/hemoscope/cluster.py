"""A Ray cluster: connecting to one, and what its nodes have. Ray itself is the extra `ray`."""

from __future__ import annotations

import logging
import os
import socket

from hemoscope.errors import ConfigError, MissingPackageError

__all__ = ["connect", "nodes"]

ANSWER_S = 20.0  # that a cluster's head has to answer a first call


def connect(address: str | None = None) -> dict[str, float]:
    """Connect to a Ray cluster, or start one of this machine.

    Args:
        address: As of `ray.init`: `auto`, `HOST:PORT`, `ray://HOST:PORT`; None takes RAY_ADDRESS, else this machine.

    Returns:
        What the cluster has: CPU, GPU, memory and whatever its nodes were started with.

    Raises:
        MissingPackageError: Without the extra `ray`.
        ConfigError: If there is no cluster at the address.
    """
    # Nothing of ours reports to anybody. Read when ray is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault(
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
    )  # silences a warning; CPU tasks see no GPU
    try:
        import ray
    except ImportError as error:
        raise MissingPackageError.of("a cluster", error, extra="ray") from error
    _no_uv_run()
    options = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
    try:
        _look_at(address)  # Ray would try for many minutes
        if not ray.is_initialized():
            try:
                ray.init(address=address, **options)
            except ConnectionError:
                if not _shows_token():
                    raise
                ray.init(address=address, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"expected a Ray cluster at {address or 'this machine'}; {error}. One is started by: ray start --head"
        ) from error
    return dict(ray.cluster_resources())


def _no_uv_run() -> None:
    """Let workers start from the environment as it is.

    Under `uv run` Ray would make every one of them call `uv run` in a copy of the working folder, and build an
    environment there. Its variable is read when ray is imported, which may have happened.
    """
    from ray._private import ray_constants

    if "RAY_ENABLE_UV_RUN_RUNTIME_ENV" not in os.environ:
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False


def _shows_token() -> bool:
    """Let this process show the token of this machine, and return whether there is one that it did not show before.

    Ray itself shows it to a cluster that it finds, not to one that is named. A cluster that asks for none must not be
    shown one: this process would then ask the cluster for it, and actors would die before they begin.
    """
    try:
        from ray._private.authentication import authentication_token_setup as tokens
    except ImportError:  # a Ray from before tokens
        return False
    if os.environ.get(tokens.AUTH_MODE_ENV_VAR):
        return False
    tokens.logger.setLevel(logging.ERROR)
    return tokens.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _look_at(address: str | None) -> None:
    """Raise the OSError of a connection to HOST:PORT, if that is what the address is."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S):
            pass


def nodes() -> list[dict[str, float]]:
    """Return what each living node has: CPU, GPU, memory and whatever it was started with."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
