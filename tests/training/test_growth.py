from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fer_edge.data import synthetic_dataset
from fer_edge.errors import ModelError, UsageError
from fer_edge.models import build_model
from fer_edge.models.trained import load_model
from fer_edge.training.augment import normalise
from fer_edge.training.config import TrainConfig
from fer_edge.training.growth import grow

CARRIED = Path("fer_edge/models/carried/compact")


@pytest.fixture(scope="module", params=["compact", "nano"])
def compact(request: pytest.FixtureRequest) -> nn.Module:
    return load_model(CARRIED.with_name(request.param)).eval()


@pytest.fixture(scope="module")
def faces() -> Tensor:
    return normalise(torch.as_tensor(synthetic_dataset(32, split="train").faces)[:, None])


@pytest.fixture(scope="module")
def grown(compact: nn.Module, faces: Tensor) -> nn.Module:
    torch.manual_seed(0)
    model = build_model("resnet50")
    grow(model, compact, lambda: faces, steps=2, autocast=nullcontext())
    return model


def first_stage(model: nn.Module, faces: Tensor) -> Tensor:
    net = model.network
    return net.layer1(net.relu(net.bn1(net.conv1(faces.expand(-1, 3, -1, -1)))))


def after_first_stage(compact: nn.Module, features: Tensor) -> Tensor:
    return compact.classifier(compact.stages[1:](features).mean((2, 3)))


@torch.no_grad()
def test_behind_its_first_stage_the_model_computes_what_compact_does(
    grown: nn.Module, compact: nn.Module, faces: Tensor
) -> None:
    wanted = after_first_stage(compact, first_stage(grown.eval(), faces)[:, :32])
    torch.testing.assert_close(grown(faces), wanted, rtol=0, atol=1e-3)
    assert wanted.std() > 0.5


@torch.no_grad()
def test_training_mode_computes_alike(grown: nn.Module, compact: nn.Module, faces: Tensor) -> None:
    net = grown.network
    features = first_stage(grown.eval(), faces)
    wanted = after_first_stage(compact, features[:, :32])
    state = {name: tensor.clone() for name, tensor in grown.state_dict().items()}
    net.train()
    pooled = net.layer4(net.layer3(net.layer2(features))).mean((2, 3))
    grown.load_state_dict(state)
    assert (net.fc(pooled) - wanted).abs().mean() < 0.1 * wanted.abs().mean()


def test_every_free_channel_can_learn(grown: nn.Module, faces: Tensor) -> None:
    grown.train()
    grown(faces).square().mean().backward()
    assert (grown.network.fc.weight.grad.abs().sum(0) > 0).float().mean() > 0.7
    grown.zero_grad(set_to_none=True)


def test_the_stem_comes_closer_to_the_first_stage_of_compact(
    compact: nn.Module, faces: Tensor
) -> None:
    wanted = compact.stages[0](compact.stem(faces)).detach()

    def distance(steps: int) -> float:
        torch.manual_seed(0)
        model = build_model("resnet50")
        told: list[tuple[int, int]] = []
        grow(
            model,
            compact,
            lambda: faces[:8],
            steps=steps,
            autocast=nullcontext(),
            on_step=lambda *step: told.append(step),
        )
        assert told == [(step + 1, steps) for step in range(steps)]
        with torch.no_grad():
            return float(
                (first_stage(model.train(), faces[:8])[:, :32] - wanted[:8]).square().mean()
            )

    assert distance(30) < 0.5 * distance(1)


def test_the_head_of_a_vgg_passes_on_what_the_classifier_of_compact_reads(
    compact: nn.Module, faces: Tensor
) -> None:
    model = build_model("vgg19", dropout=0.5)
    grow(model, compact, lambda: faces, steps=1, autocast=nullcontext())
    net = model.eval().network
    with torch.no_grad():
        features = net.avgpool(net.features(faces.expand(-1, 3, -1, -1))).flatten(1)
        wanted = compact.classifier(features[:, : compact.classifier.in_features])
        torch.testing.assert_close(model(faces), wanted)


def test_a_vgg_comes_closer_to_compact(compact: nn.Module, faces: Tensor) -> None:
    wanted = compact(faces[:8]).detach()

    def distance(steps: int) -> float:
        torch.manual_seed(0)
        model = build_model("vgg19", dropout=0)
        grow(model, compact, lambda: faces[:8], steps=steps, autocast=nullcontext())
        with torch.no_grad():
            return float((model.train()(faces[:8]) - wanted).square().mean())

    assert distance(30) < 0.5 * distance(1)


def test_sizes_at_which_the_features_differ_are_refused(compact: nn.Module) -> None:
    faces = torch.zeros(2, 1, 56, 56)
    with pytest.raises(ModelError, match=r"Take a --size that 16 divides"):
        grow(build_model("vgg19"), compact, lambda: faces, steps=1, autocast=nullcontext())


@pytest.mark.parametrize(("student", "source"), [("resnet14", "compact"), ("resnet50", "resnet14")])
def test_other_models_do_not_grow(student: str, source: str, faces: Tensor) -> None:
    with pytest.raises(ModelError, match="Only a ResNet-50 or a VGG-19 can grow, and only from"):
        grow(build_model(student), build_model(source), lambda: faces, autocast=nullcontext())


def test_a_model_starts_from_one_thing() -> None:
    with pytest.raises(UsageError, match="--weights and --grow-from exclude each other"):
        TrainConfig.checked(data="made up", weights="w.safetensors", grow_from=str(CARRIED))
