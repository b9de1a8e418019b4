"""When OpenTelemetry is told of a request. Its packages are no dependency: here they are stood in for."""

from __future__ import annotations

from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

from bulkhead.platform.http.spans import Spans, spans_of
from bulkhead.platform.http.trace import Trace

CONFIGURED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
SAMPLED = Trace("a" * 32, "b" * 16, sampled=True, parent_id="c" * 16)


class Packages:
    """What is installed, as far as it is used."""

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.modules = MagicMock()
        self.modules.RandomIdGenerator = object
        self.modules.TracerProvider.side_effect = self._provider

    def load(self, _: str) -> ModuleType:
        return self.modules

    def _provider(self, *, id_generator: Any) -> Any:
        provider = MagicMock()

        def start_span(name: str, _: Any, **options: Any) -> Any:
            self.started.append({"name": name, "span_id": id_generator.generate_span_id(), **options})
            return MagicMock()

        provider.get_tracer.return_value.start_span = start_span
        return provider

    def spans(self) -> Spans:
        found = spans_of(CONFIGURED, self.load)
        assert found
        return found


def test_nobody_is_told_without_an_exporter() -> None:
    assert spans_of({"OTEL_SERVICE_NAME": "platform"}) is None


def test_an_exporter_without_the_packages_is_a_warning_and_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    def load(name: str) -> ModuleType:
        raise ImportError(name=name)

    assert spans_of(CONFIGURED, load) is None
    assert "opentelemetry_not_installed" in capsys.readouterr().out


def test_a_sampled_request_is_told_with_the_ids_that_its_logs_have() -> None:
    packages = Packages()
    packages.spans()(SAMPLED, "GET /v1/clusters", 0.5, {"http.response.status_code": 200})
    (span,) = packages.started
    assert (span["name"], span["span_id"]) == ("GET /v1/clusters", int("b" * 16, 16))
    assert packages.modules.SpanContext.call_args.args == (int("a" * 32, 16), int("c" * 16, 16))


@pytest.mark.parametrize(
    "trace", [Trace("a" * 32, "b" * 16, sampled=False, parent_id="c" * 16), Trace("a" * 32, "b" * 16)]
)
def test_what_its_first_caller_did_not_sample_is_not_told(trace: Trace) -> None:
    packages = Packages()
    packages.spans()(trace, "GET /v1/clusters", 0.5, {})
    assert packages.started == []
