# SPDX-License-Identifier: BSD-3-Clause
import pytest
import torch

from sleep2vec_sklearn import _torch as hardware


@pytest.mark.parametrize(("has_gpu", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_prefers_a_gpu(monkeypatch, has_gpu, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert hardware.resolve_device("auto") == device


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_named_device_is_kept(device):
    assert hardware.resolve_device(device) == "cpu"


@pytest.mark.parametrize("device", ["gpu", "cuda:99", 3.5, None])
def test_absent_device_is_refused(device):
    with pytest.raises(ValueError, match=r"is not available here: .* Use 'auto' or 'cpu'"):
        hardware.resolve_device(device)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_named_precision_is_kept(precision):
    assert hardware.resolve_precision(precision, "cpu") == precision


@pytest.mark.parametrize(
    ("capability", "has_products", "expected"),
    [("AVX512", True, "bfloat16"), ("AVX512", False, "float32"), ("AVX2", True, "float32")],
)
def test_auto_bfloat16_where_fast(monkeypatch, capability, has_products, expected):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(hardware, "_has_bf16_products", lambda: has_products)
    assert hardware.resolve_precision("auto", "cpu") == expected


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_follows_the_gpu(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: native)
    assert hardware.resolve_precision("auto", "cuda") == expected
