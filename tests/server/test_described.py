"""The API does what its OpenAPI description says, whatever is sent, whether it fits the description or not."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.server.client import API, Client
from tests.server.pictures import smear

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_route_answers_as_described(listening: str, mode: GenerationMode):
    with httpx.Client(base_url=listening, timeout=None) as http:
        client = Client(http, site=None)  # type: ignore[arg-type]
        for _ in range(2):
            client.slide_of(smear(4, seed=1))
        client.review_all(1)
        client.sign(1)
        headers = client.headers | {"Cookie": "; ".join(f"{k}={v}" for k, v in http.cookies.items())}
    schema = schemathesis.openapi.from_url(f"{listening}{API}/openapi.json")
    tried = 0
    for result in schema.exclude(path_regex="/events$").get_all_operations():  # which does not end
        operation = result.ok()

        @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers_as_described(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=headers, checks=CHECKS)

        try:
            answers_as_described()
        except Unsatisfiable:
            continue  # nothing that can be sent would be wrong
        tried += 1
    assert tried > (25 if mode is GenerationMode.POSITIVE else 15)


def test_the_description_names_every_route_and_what_is_refused(client: Client):
    found = client.http.get(f"{API}/openapi.json").json()
    names = [op["operationId"] for ops in found["paths"].values() for op in ops.values()]
    assert len(names) == len(set(names)) > 25
    for path, operations in found["paths"].items():
        for operation in operations.values():
            assert "4XX" in operation["responses"], path
            assert operation["summary"], path


def test_every_answer_in_json_is_described_key_by_key(client: Client):
    found = client.http.get(f"{API}/openapi.json").json()
    vague = []
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                schema = answer.get("content", {}).get("application/json", {}).get("schema")
                if status.startswith("2") and schema is not None:
                    schema = schema.get("items", schema)
                    vague += [] if "$ref" in schema else [f"{method} {path}"]
    assert vague == ["get /healthz", "get /readyz"]  # of which the status is the answer
