"""Functions as teachers: how they may be asked."""

from skdcgn.cgn.black_box import Access, BlackBox, access_of
from skdcgn.cgn.mechanism import Spec
from skdcgn.cgn.subset import of_classes
from skdcgn.teachers.load import load_teacher


def test_a_function_may_cost_money_and_a_network_of_ours_does_not(analytic_teacher):
    function = load_teacher(analytic_teacher.query, spec=Spec())
    assert isinstance(function, BlackBox)
    assert access_of(function) == access_of(of_classes(function, (1, 2))) == Access(paid=True, idempotent=False)
    ours = load_teacher("double-colored-digits")
    assert access_of(ours) is access_of(of_classes(ours, (1, 2))) is None
