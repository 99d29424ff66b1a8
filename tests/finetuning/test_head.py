# SPDX-License-Identifier: BSD-3-Clause
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EPOCH_KINDS = [
    {},
    {"aggregation": "gated", "n_layers": 2},
    {"aggregation": "concat", "head": "temporal_conv", "depth": 2},
    {"aggregation": "gated", "head": "temporal_transformer", "depth": 1},
]
NIGHT_KINDS = [
    {"unit": "night"},
    {"unit": "night", "pooling": "attention", "aggregation": "gated", "n_layers": 2},
    {"unit": "night", "pooling": "cls", "aggregation": "concat"},
    {"unit": "night", "pooling": "cls", "n_layers": 3, "layer_mix_per_modality": False},
]
EVERY_KIND = pytest.mark.parametrize("options", EPOCH_KINDS + NIGHT_KINDS)


@pytest.fixture
def case(request, make_head, night):
    """Function of a head's options: the head, and a batch it reads."""

    def build(options):
        tokens, present, valid, cls = night(options.get("n_layers", 1))
        return make_head(**options), [tokens, present, valid, None, cls]

    return build


def answer(head, batch):
    with torch.no_grad():
        return head(*batch)


@EVERY_KIND
def test_a_row_is_an_epoch_or_a_night(case, options):
    head, batch = case(options)
    by_night = options.get("unit") == "night"
    assert answer(head, batch).shape == ((2, 5) if by_night else (2, 9, 5))


@EVERY_KIND
def test_nan_where_nothing_is_never_leaks(case, options):
    head, batch = case(options)
    tokens, present, valid, _, cls = batch
    present[0, 2:5, 1] = False
    present[1, :, 0] = False
    present[0, 8] = False
    valid[1, 6:] = False
    before = answer(head, batch)
    hole = ~(present & valid[..., None])
    tokens[hole] = cls[hole.all(dim=1)] = torch.nan
    read = cls if options.get("pooling") == "cls" else tokens
    read.requires_grad_()
    found = head(*batch)
    torch.testing.assert_close(found, before, rtol=0, atol=1e-6)
    found.sum().backward()
    assert read.grad.isfinite().all()
    assert read.grad[hole.all(dim=1) if read is cls else hole].eq(0).all()


@EVERY_KIND
def test_padding_never_matters(case, options):
    head, batch = case(options)
    tokens, present, valid, _, cls = batch
    valid[0, 6:] = False
    found = answer(head, batch)
    alone = answer(head, [tokens[:1, :6], present[:1, :6], valid[:1, :6], None, cls[:1]])
    row = found[:1] if found.ndim == 2 else found[:1, :6]
    torch.testing.assert_close(row, alone, rtol=0, atol=1e-5)


@EVERY_KIND
def test_a_night_does_not_depend_on_its_neighbours(case, options):
    head, batch = case(options)
    alone = answer(head, [part if part is None else part[1:] for part in batch])
    torch.testing.assert_close(answer(head, batch)[1:], alone, rtol=0, atol=1e-5)


@EVERY_KIND
def test_any_modality_may_be_missing(case, options):
    head, batch = case(options)
    whole = answer(head, batch)
    batch[1][:, :, 1] = False
    without = answer(head, batch)
    assert without.isfinite().all()
    assert not torch.allclose(without, whole)


@EVERY_KIND
def test_a_night_without_anything_has_finite_outputs(case, options):
    head, batch = case(options)
    batch[1][0] = False
    assert answer(head, batch).isfinite().all()


def test_an_epoch_without_anything_looks_as_those_around(case):
    head, batch = case({"head": "linear"})
    batch[1][0, 4] = False
    found = answer(head, batch)
    batch[0][0] = batch[0][0, 3]
    steady = answer(head, batch)
    assert found.isfinite().all()
    torch.testing.assert_close(steady[0, 4], steady[0, 3])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(st.booleans(), min_size=3, max_size=3).filter(any))
def test_any_subset_is_the_computation_over_that_subset(case, present):
    """As if the gates and the mix had been made for the modalities there are."""
    present = torch.tensor(present)
    head, batch = case({"aggregation": "gated", "n_layers": 2, "head": "mlp"})
    batch[1][:] = present
    with torch.no_grad():
        tokens, mix = batch[0][:, :, present], head.layer_mix.weight[present].softmax(dim=1)
        mixed = torch.einsum("blmkh,mk->blmh", tokens, mix)
        gates = head.aggregation.gates[present].softmax(dim=0)
        expected = head.predictor(torch.einsum("blmh,m->blh", mixed, gates))
    torch.testing.assert_close(answer(head, batch), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("unit", ["epoch", "night"])
def test_covariates_are_put_beside_the_features(make_head, night, draw, unit):
    head = make_head(unit=unit, n_covariates=2, head="linear")
    tokens, present, valid, _ = night()
    with torch.no_grad():
        first, second = draw(2, 2), draw(2, 2)
        change = head(tokens, present, valid, second) - head(tokens, present, valid, first)
        expected = (second - first) @ head.predictor.classifier.weight[:, -2:].T
    expected = expected[:, None].expand(-1, 9, -1) if unit == "epoch" else expected
    torch.testing.assert_close(change, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("given", [None, torch.zeros(2, 1)])
def test_missing_covariates_are_an_error(make_head, night, given):
    head = make_head(n_covariates=2)
    tokens, present, valid, _ = night()
    with pytest.raises(ValueError, match=r"reads 2 covariates per sequence, got [01]"):
        head(tokens, present, valid, given)


def test_missing_summaries_are_an_error(make_head, night):
    tokens, present, valid, _ = night()
    with pytest.raises(ValueError, match="pooling='cls' reads the encoder's summaries"):
        make_head(unit="night", pooling="cls")(tokens, present, valid)


def test_summaries_are_enough_for_cls_pooling(make_head, night):
    _, present, valid, cls = night()
    head = make_head(unit="night", pooling="cls")
    assert head(None, present, valid, cls=cls).shape == (2, 5)


@EVERY_KIND
def test_every_parameter_of_a_head_is_trained(case, options):
    head, batch = case(options)
    head(*batch).square().sum().backward()
    unused = [name for name, p in head.named_parameters() if p.grad is None or p.grad.eq(0).all()]
    assert not unused


def test_a_head_can_be_rebuilt_from_its_configuration(make_head, night):
    from sleep2vec_sklearn.finetuning._network import Head
    from sleep2vec_sklearn.finetuning.config import HeadConfig

    head = make_head(aggregation="gated", head="temporal_conv")
    again = Head(HeadConfig.from_dict(head.config.to_dict())).eval()
    again.load_state_dict(head.state_dict())
    tokens, present, valid, _ = night()
    assert torch.equal(again(tokens, present, valid), head(tokens, present, valid))
