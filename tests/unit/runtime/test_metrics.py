"""The series that dashboards and alerts are built on."""

from __future__ import annotations

from bulkhead.runtime.metrics import Metrics


def rendered(metrics: Metrics) -> str:
    return metrics.render().decode()


def test_every_observation_lands_in_its_series() -> None:
    metrics = Metrics()
    metrics.waited(0.2)
    metrics.requested("create", "secrets", 201, 0.01)
    metrics.requested("get", "tenants", 0, 15.0)
    metrics.reconciled("DataCluster", "ready", 0.3)
    metrics.mutated("minio", "CreateBucket", succeeded=False)
    text = rendered(metrics)
    for series in (
        "bulkhead_queue_wait_seconds_count 1.0",
        'bulkhead_kube_request_seconds_count{code="201",resource="secrets",verb="create"} 1.0',
        'bulkhead_kube_request_seconds_count{code="0",resource="tenants",verb="get"} 1.0',
        'bulkhead_reconcile_seconds_count{kind="DataCluster",outcome="ready"} 1.0',
        'bulkhead_mutations_total{action="CreateBucket",result="failed",target="minio"} 1.0',
    ):
        assert series in text


def test_the_age_of_a_watch_is_asked_for_at_each_scrape() -> None:
    metrics = Metrics()
    ages = iter((1.0, 2.0))
    metrics.watch("secrets", lambda: next(ages))
    assert 'bulkhead_watch_age_seconds{resource="secrets"} 1.0' in rendered(metrics)
    assert 'bulkhead_watch_age_seconds{resource="secrets"} 2.0' in rendered(metrics)


def test_whether_an_engine_is_down_is_asked_at_each_scrape() -> None:
    metrics = Metrics()
    answers = iter((True, False))
    metrics.engine("default", "postgres", lambda: next(answers))
    assert 'bulkhead_engine_down{engine="postgres",plane="default"} 1.0' in rendered(metrics)
    assert 'bulkhead_engine_down{engine="postgres",plane="default"} 0.0' in rendered(metrics)


def test_two_operators_in_one_process_do_not_share_series() -> None:
    one, other = Metrics(), Metrics()
    one.waited(1.0)
    assert "bulkhead_queue_wait_seconds_count 0.0" in rendered(other)
