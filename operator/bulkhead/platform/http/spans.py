"""Spans for OpenTelemetry, where its packages are installed and its variables name an exporter; else nothing at all.

Only traces that their first caller has sampled are told of. What it is configured by are the variables of OpenTelemetry
(OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, ...), read by its own packages: opentelemetry-sdk and
opentelemetry-exporter-otlp-proto-http.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import structlog

from bulkhead.platform.http.trace import Trace

log = structlog.get_logger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

Attributes = Mapping[str, str | int]
Spans = Callable[[Trace, str, float, Attributes], None]
"""Tells of one request that has ended: its trace, a name, the seconds it took, and attributes."""


def spans_of(
    environment: Mapping[str, str], load: Callable[[str], ModuleType] = importlib.import_module
) -> Spans | None:
    """What tells of requests as these variables say; None: nobody wants to know.

    load: imports a module by name
    """
    if not any(environment.get(name) for name in _ENDPOINTS):
        return None
    try:
        api = load("opentelemetry.trace")
        sdk = load("opentelemetry.sdk.trace")
        processing = load("opentelemetry.sdk.trace.export")
        exporting = load("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError as error:
        log.warning("opentelemetry_not_installed", missing=error.name)
        return None
    # It batches, sends from a thread of its own, and flushes when the process ends.
    return _recorder(api, sdk, processing.BatchSpanProcessor(exporting.OTLPSpanExporter()))


def _recorder(api: Any, sdk: Any, processor: Any) -> Spans:
    span_id = 0

    class Ids(sdk.RandomIdGenerator):  # type: ignore[misc]
        """The span has the id that logs and callers know already."""

        def generate_span_id(self) -> int:
            return span_id

    provider = sdk.TracerProvider(id_generator=Ids())
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("bulkhead.platform")

    def record(trace: Trace, name: str, seconds: float, attributes: Attributes) -> None:
        nonlocal span_id
        if not (trace.sampled and trace.parent_id):
            return
        span_id = int(trace.span_id, 16)
        flags = api.TraceFlags(api.TraceFlags.SAMPLED)
        caller = api.SpanContext(int(trace.trace_id, 16), int(trace.parent_id, 16), is_remote=True, trace_flags=flags)
        end = time.time_ns()
        tracer.start_span(
            name,
            api.set_span_in_context(api.NonRecordingSpan(caller)),
            kind=api.SpanKind.SERVER,
            attributes=attributes,
            start_time=end - int(seconds * 1e9),
        ).end(end)

    return record
