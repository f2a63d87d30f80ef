"""What a checkpoint is, from the names and shapes of its tensors alone (PROTOCOL 3.1); file names are no evidence.

The same file name exists in two generations, and every official one-output head looks like every other: what the keys
cannot tell is left to the person, as the ``tasks`` that are possible.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from BrainIACLib.contracts import EMBEDDING_TASK
from BrainIACLib.errors import ModelError
from BrainIACLib.models.encoders import empty_encoder
from BrainIACLib.models.resnet import STAGE_BLOCKS
from BrainIACLib.models.unetr import empty_decoder
from BrainIACLib.models.vit import HEADS as VIT_HEADS
from BrainIACLib.models.vit import HIDDEN

RESNET_STEM = "conv1.weight"  # (64 x width, 1, 7, 7, 7)
VIT_STEM = "patch_embedding.position_embeddings"  # (1, 216, 768 x width)
OFFICIAL_ARCHITECTURES = ("resnet50", "vit_b")
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """Where the parts lie. ``twin_*`` hold a second copy; keys that begin like ``dropped`` are of no use."""

    name: str
    encoder: str
    head: str | None = None
    twin_encoder: str | None = None
    twin_head: str | None = None
    dropped: str | None = None
    embedding: str | None = None  # of contracts.EMBEDDINGS, where the makers of this form read another one
    decoder: str | None = None  # what begins like this, and does not belong to the encoder, is a UNETR's


NIDL = "<nidl>."  # put before the keys of an encoder in nidl's form, once they are translated to MONAI's
NIDL_KEYS = (  # nidl's names are timm's
    (r"pos_embed$", "patch_embedding.position_embeddings"),
    (r"patch_embed\.proj\.", "patch_embedding.patch_embeddings."),
    (r"(blocks\.\d+\.attn)\.proj\.", r"\1.out_proj."),
    (r"(blocks\.\d+\.mlp)\.fc([12])\.", r"\1.linear\2."),
)
# In the order in which they are tried: a longer prefix comes before a shorter one that it contains.
LAYOUTS = (
    Layout("segmentation file", "model.unetr.vit.", dropped=r"model\.vit\.", decoder="model.unetr."),
    Layout("task file", "model.backbone.backbone.", "model.classifier.fc.", "backbone.backbone.", "classifier.fc."),
    Layout("task file", "backbone.backbone.", "classifier.fc.", dropped=r"bilinear_pooling\."),
    Layout("backbone", "backbone.", dropped=r"(?!backbone\.|classifier\.)"),  # the rest: projector of the pretraining
    Layout("backbone in Hugging Face form", "resnet."),
    Layout("backbone in data-parallel form", "module.", dropped=r"module\.conv_seg\."),
    Layout("checkpoint of this project", "encoder.", "head."),
    Layout("backbone in nidl's form", NIDL, dropped=r"(projection_head|projector|g)\.", embedding="token_mean"),
    Layout("plain state dict", "", dropped=r"conv_seg\."),
)


@dataclass(frozen=True)
class Recognised:
    """What a file is, and which of its tensors go where.

    ``encoder_keys``, ``head_keys`` and ``decoder_keys`` map the keys of our nets to keys of the file; ``twins`` pairs
    keys that must hold equal values; ``zero_keys`` are absent and become zeros.
    """

    title: str
    generation: str
    architecture: str
    width: float
    embedding_size: int
    outputs: int | None
    tasks: tuple[str, ...]
    encoder_keys: Mapping[str, str]
    head_keys: Mapping[str, str]
    twins: Mapping[str, str]
    dropped_keys: tuple[str, ...]
    zero_keys: tuple[str, ...]
    embedding: str | None = None  # None: the one of upstream
    decoder_keys: Mapping[str, str] = dataclasses.field(default_factory=dict)


def recognise(shapes: Shapes) -> Recognised:
    """What the tensors of these names and shapes are; keys are those of the file, whatever port renamed them.

    Raises
    ------
    ModelError : none of the known layouts; with up to three reasons, each with what was expected and found.
    """
    names = _names_of_monai(shapes)
    found = _recognise({name: shapes[key] for name, key in names.items()})
    return dataclasses.replace(
        found,
        encoder_keys={ours: names[name] for ours, name in found.encoder_keys.items()},
        head_keys={ours: names[name] for ours, name in found.head_keys.items()},
        decoder_keys={ours: names[name] for ours, name in found.decoder_keys.items()},
        twins={names[twin]: names[original] for twin, original in found.twins.items()},
        dropped_keys=tuple(names[name] for name in found.dropped_keys),
    )


def _names_of_monai(shapes: Shapes) -> dict[str, str]:
    """MONAI's name of each key -> the key in the file, for ports that renamed them; other keys keep their names."""
    stem = next((key for key in shapes if re.fullmatch(r"(.*\.)?patch_embed\.proj\.weight", key)), None)
    prefix = None if stem is None else stem.removesuffix("patch_embed.proj.weight")
    names = {}
    for key in shapes:
        name = re.sub(r"(patch_embedding\.patch_embeddings)\.0\.", r"\1.", key)
        if prefix is not None and key.startswith(prefix) and not re.match(r"(projection_head|projector|g)\.", key):
            name = NIDL + key.removeprefix(prefix)
            for pattern, replacement in NIDL_KEYS:
                name = re.sub(re.escape(NIDL) + pattern, NIDL + replacement, name)
        names[name] = key
    return names


def _recognise(shapes: Shapes) -> Recognised:
    """Of tensors under MONAI's names.

    Raises
    ------
    ModelError : none of the known layouts; with up to three reasons, each with what was expected and found.
    """
    layout = next((layout for layout in LAYOUTS if _stem(shapes, layout.encoder)), None)
    if layout is None and shapes and all(re.match(r"(classifier\.)?(fc\.)+(weight|bias)$", key) for key in shapes):
        raise ModelError(
            "The file holds a head without its encoder, and an official head belongs to the encoder that was trained "
            "with it: import the file of the whole model."
        )
    if layout is None:
        some = "; ".join(f"{key} {shape}" for key, shape in list(shapes.items())[:3])
        raise ModelError(
            f"The file holds no known encoder: expected a key that ends in '{RESNET_STEM}' of shape (64, 1, 7, 7, 7) "
            f"(v1) or in '{VIT_STEM}' of shape (1, 216, 768) (v2), found {len(shapes)} keys: {some}. "
            "The list of models names the files that can be imported.",
            "brainiac models list",
        )
    architecture, width = _architecture(shapes, layout.encoder)
    net = empty_encoder(architecture, width, "token0")
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    found = _under(shapes, layout.encoder)
    zero_keys = _absent_by_right(expected, found)
    needless = _unused_by_right(expected, found)
    medicalnet = any(key.endswith("downsample.0.bias") for key in zero_keys)

    reasons = _differences(expected, found, layout.encoder, {*zero_keys, *needless})
    encoder_keys = {key: layout.encoder + key for key in expected if key not in zero_keys}
    used = {layout.encoder + key for key in (*expected, *needless)}
    head_keys, head_reasons = _head(shapes, layout.head, net.embedding_size)
    reasons += head_reasons
    used |= set(head_keys.values())
    decoder_keys, decoder_reasons = _decoder(shapes, layout, net.embedding_size)
    reasons += decoder_reasons
    used |= set(decoder_keys.values())

    twins: dict[str, str] = {}
    for prefix, twin in ((layout.encoder, layout.twin_encoder), (layout.head, layout.twin_head)):
        if prefix is not None and twin is not None and (copies := _under(shapes, twin)):
            originals = _under(shapes, prefix)
            reasons += _differences(originals, copies, twin, set())
            twins |= {twin + key: prefix + key for key in originals}
    used |= set(twins)
    dropped = [key for key in shapes if key not in used and layout.dropped and re.match(layout.dropped, key)]
    strangers = [key for key in shapes if key not in used and key not in dropped]
    reasons += [f"{key}: expected nothing, found {shapes[key]}" for key in strangers]

    generation = _generation(layout, architecture, medicalnet)
    title = f"{generation} {'ViT-B' if architecture == 'vit_b' else architecture.replace('resnet', 'ResNet')}"
    title = f"{title if width == 1 else f'{title} of width {width:g}'} {layout.name}"
    if reasons:
        more = f" ({len(reasons)} differences in all)" if len(reasons) > 3 else ""
        raise ModelError(f"The file looks like a {title}, but does not fit: {'; '.join(reasons[:3])}{more}.")
    if generation != "own" and architecture not in OFFICIAL_ARCHITECTURES:
        raise ModelError(
            f"The file looks like a {title}, but the official files hold a ResNet50 or a ViT-B, so nothing says what "
            "its numbers mean; a model of your own comes as a folder with a contract.json."
        )
    outputs = shapes[head_keys["fc.bias"]][0] if head_keys else None
    return Recognised(
        title=title if outputs is None else f"{title} with {outputs} output{'s' * (outputs > 1)}",
        generation=generation,
        architecture=architecture,
        width=width,
        embedding_size=net.embedding_size,
        outputs=outputs,
        tasks=_tasks(generation, outputs, any(key.startswith("bilinear_pooling.") for key in dropped)),
        encoder_keys=encoder_keys,
        head_keys=head_keys,
        twins=twins,
        dropped_keys=(*dropped, *(layout.encoder + key for key in needless)),
        zero_keys=zero_keys,
        embedding=layout.embedding,
        decoder_keys=decoder_keys,
    )


def _under(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    return {key[len(prefix) :]: shape for key, shape in shapes.items() if key.startswith(prefix)}


def _stem(shapes: Shapes, prefix: str) -> bool:
    stem = shapes.get(prefix + RESNET_STEM, ())
    return (len(stem) == 5 and stem[2:] == (7, 7, 7)) or prefix + VIT_STEM in shapes


def _architecture(shapes: Shapes, prefix: str) -> tuple[str, float]:
    """Architecture and width, such that as many keys as possible agree."""
    if prefix + VIT_STEM in shapes:
        hidden = shapes[prefix + VIT_STEM][-1] if shapes[prefix + VIT_STEM] else 0
        if not 0 < hidden <= 8 * HIDDEN or hidden % VIT_HEADS:
            raise ModelError(f"The file looks like a ViT, but {hidden} hidden units do not divide into its heads.")
        return "vit_b", hidden / HIDDEN
    width = shapes[prefix + RESNET_STEM][0] / 64
    if not 1 / 64 <= width <= 8:
        raise ModelError(f"The file looks like a ResNet, but its stem has {shapes[prefix + RESNET_STEM][0]} channels.")
    found = set(_under(shapes, prefix))

    def differing(name: str) -> int:
        return len(set(empty_encoder(name, width, "gap").state_dict()) ^ found)

    return min(STAGE_BLOCKS, key=differing), width


def _absent_by_right(expected: Shapes, found: Shapes) -> tuple[str, ...]:
    """Counters that no prediction reads, and MedicalNet's shortcut biases (U-01), if absent as a whole."""
    absent = [key for key in expected if key not in found]
    counters = [key for key in absent if key.endswith("num_batches_tracked")]
    biases = [key for key in expected if key.endswith("downsample.0.bias")]
    return (*counters, *(biases if biases and set(biases) <= set(absent) else ()))


def _unused_by_right(expected: Shapes, found: Shapes) -> tuple[str, ...]:
    """The cross-attention norms that MONAI 1.4 and later save and never use: all 24 or none."""
    hidden = expected.get("norm.weight")
    norms = [f"blocks.{i}.norm_cross_attn.{part}" for i in range(12) for part in ("weight", "bias")]
    return tuple(norms) if hidden and all(found.get(key) == hidden for key in norms) else ()


def _head(shapes: Shapes, prefix: str | None, embedding_size: int) -> tuple[dict[str, str], list[str]]:
    if prefix is None:
        return {}, []
    found = _under(shapes, prefix)
    if not found:
        return {}, [f"{prefix}weight: expected (outputs, {embedding_size}), found nothing"]
    # Released files hold the layer itself (classifier.fc.*), ours the whole head (head.fc.*, head.hidden.*).
    inner = "" if "weight" in found else "fc."
    outputs = (found.get(f"{inner}bias") or (1,))[0]
    expected = {f"{inner}weight": (outputs, embedding_size), f"{inner}bias": (outputs,)}
    if "hidden.weight" in found:
        expected |= {"hidden.weight": (embedding_size, embedding_size), "hidden.bias": (embedding_size,)}
    keys = {(key if inner else f"fc.{key}"): prefix + key for key in expected}
    return keys, _differences(expected, found, prefix, set())


def _decoder(shapes: Shapes, layout: Layout, hidden: int) -> tuple[dict[str, str], list[str]]:
    if layout.decoder is None:
        return {}, []
    found = {key: shape for key, shape in _under(shapes, layout.decoder).items() if not key.startswith("vit.")}
    expected = {key: tuple(value.shape) for key, value in empty_decoder(hidden).state_dict().items()}
    keys = {key: layout.decoder + key for key in expected if key in found}
    return keys, _differences(expected, found, layout.decoder, set())


def _differences(expected: Shapes, found: Shapes, prefix: str, ignored: set[str]) -> list[str]:
    return [
        f"{prefix}{key}: expected {expected[key]}, found {found.get(key, 'nothing')}"
        for key in expected
        if key not in ignored and expected[key] != found.get(key)
    ]


def _generation(layout: Layout, architecture: str, medicalnet: bool) -> str:
    if medicalnet:
        return "medicalnet"
    if layout.encoder == "encoder.":
        return "own"
    return "v2" if architecture == "vit_b" else "v1"


def _tasks(generation: str, outputs: int | None, bilinear: bool) -> tuple[str, ...]:
    if generation == "own":
        return ("own",)
    if outputs is None:
        return (EMBEDDING_TASK,)
    if outputs == 4:
        return ("sequence",)
    if outputs != 1:
        raise ModelError(f"The file has a head with {outputs} outputs; the official heads have 1 or 4.")
    if bilinear:
        return ("idh", "survival")  # the multi-scan model of v1 carries that dead layer (U-03)
    return ("age", "mci", "stroke") if generation == "v1" else ("age", "idh", "mci", "stroke", "survival")
