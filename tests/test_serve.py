"""The service of skdcgn serve, and its teacher, on loopback: equal answers, counts, limits, and a flaky service."""

import pytest
import torch

from skdcgn.cgn.black_box import Access, BlackBox
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.teachers.remote import open_http

serve = pytest.importorskip("skdcgn.deploy.serve", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")


def questions(count, seed=0):
    return torch.randn(count, 32, generator=torch.Generator().manual_seed(seed)), torch.arange(count) % 10


@pytest.fixture(scope="module")
def service(analytic_teacher):
    with serve.serving(analytic_teacher, batch=16) as address:
        yield address


@pytest.fixture(scope="module")
def remote(service):
    teacher = open_http(service)
    yield teacher
    teacher.close()


def test_a_service_is_a_black_box_with_the_spec_and_the_digest_of_its_cgn(remote, analytic_teacher):
    assert isinstance(remote, BlackBox)
    assert (remote.spec, remote.digest, remote.size) == (analytic_teacher.spec, "analytic", None)
    assert remote.access == Access(batch=16, in_flight=2, paid=True, idempotent=True)


@pytest.mark.parametrize("mechanism", Mechanism)
def test_its_answers_are_those_of_the_cgn_in_the_order_of_the_rows(mechanism, remote, analytic_teacher):
    noise, labels = questions(50)
    assert torch.equal(remote.query(mechanism, noise, labels), analytic_teacher.query(mechanism, noise, labels))
