"""What Prometheus is told: requests, images, what waits, who listens. No name of a slide or file."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]


class Metrics:
    """The figures of one server, in a registry of its own.

    Args:
        waiting: Gives how many images wait for the model.
        streams: Gives how many browsers listen.
    """

    def __init__(self, *, waiting: Callable[[], float], streams: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "hemoscope_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "hemoscope_request_seconds",
            "Seconds to the answer.",
            ["method", "route"],
            registry=self._registry,
        )
        self._images = Counter(
            "hemoscope_images", "Images the model was asked about.", registry=self._registry
        )
        self._asking = Counter(
            "hemoscope_asking_seconds", "Seconds the model and its rows took.", registry=self._registry
        )
        for name, words, read in (
            ("hemoscope_waiting_images", "Images that wait for the model.", waiting),
            ("hemoscope_streams", "Open event streams.", streams),
        ):
            Gauge(name, words, registry=self._registry).set_function(read)

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request by the route's template, never by its path."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def predicted(self, images: int, seconds: float) -> None:
        """Count images."""
        self._images.inc(images)
        self._asking.inc(seconds)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._registry)
