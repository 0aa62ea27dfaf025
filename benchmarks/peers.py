"""PyTorch at its best on the same work: what a user would pick instead.

The network is diffusers' in the configuration of google/ddpm-cifar10-32, which has the
layers and the parameters of this project's; lucidrains' is another network. Adam is
fused, clipping and the EMA run over all tensors at once.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch.nn.functional import mse_loss
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import get_ema_multi_avg_fn

from benchmarks.work import Task
from benchmarks.work import Work

CHANNELS_LAST = {"diffusers-channels-last", "diffusers-compile"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(x_t [B, C, H, W], t [B]) -> eps [B, C, H, W]."""


class Place(NamedTuple):
    """Where tensors are made, and how they lie in memory."""

    device: torch.device
    layout: torch.memory_format
    dtype: torch.dtype

    def put(self, x: torch.Tensor) -> torch.Tensor:
        """Brings images to the device, in the layout."""
        return x.to(self.device, memory_format=self.layout)


class Tables(NamedTuple):
    """alpha_bar [T], and per step t what x_{t-1} is made of: see reverse_chain."""

    alphas_cumprod: torch.Tensor
    steps: list[tuple[float, ...]]


def make(name: str, task: Task) -> Work:
    """The work of a worker."""
    torch.backends.cudnn.benchmark = True
    layout = torch.channels_last if name in CHANNELS_LAST else torch.contiguous_format
    device = torch.device("cpu" if task.device == "cpu" else "cuda")
    place = Place(device, layout, DTYPES[task.dtype])
    other = name == "lucidrains-other-net"
    network = lucidrains_unet(task) if other else diffusers_unet(task)
    parameters = sum(p.numel() for p in network.parameters())
    network.to(device, memory_format=layout)
    # The pipeline hands its images to NumPy, which knows no bfloat16.
    half = task.dtype == "bfloat16" and name != "diffusers-pipeline"
    if task.kind == "sample" and half:
        network.to(place.dtype)
    called = torch.compile(network) if name == "diffusers-compile" else network
    predict = called if other else partial(diffusers_predict, called)
    turn: Callable[[], object]
    if task.kind == "train":
        turn = train_turn(network.train(), predict, place, task.batch_size)
    elif name == "diffusers-pipeline":
        turn = pipeline_turn(network.eval(), task)
    else:
        network.eval()
        turn = partial(reverse_chain, predict, place, task, make_tables())
    return Work(partial(finish, turn, device), parameters)


def device_peak() -> int:
    """The most bytes that tensors took on the GPU."""
    return int(torch.cuda.max_memory_allocated())


def finish(turn: Callable[[], object], device: torch.device) -> None:
    """Does a turn and waits for the GPU."""
    turn()
    if device.type == "cuda":
        torch.cuda.synchronize()


def diffusers_unet(task: Task) -> torch.nn.Module:
    """google/ddpm-cifar10-32, ch wide, with the dropout that it was trained with."""
    from diffusers import UNet2DModel

    down, up = ["DownBlock2D"] * 4, ["UpBlock2D"] * 4
    down[1], up[2] = "AttnDownBlock2D", "AttnUpBlock2D"
    return UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=[task.ch * mult for mult in (1, 2, 2, 2)],
        down_block_types=down,
        up_block_types=up,
        layers_per_block=2,
        attention_head_dim=None,
        act_fn="silu",
        norm_eps=1e-6,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        dropout=0.1,
    )


def diffusers_predict(
    network: Callable[..., tuple[torch.Tensor]], x: torch.Tensor, t: torch.Tensor
) -> torch.Tensor:
    """Calls a network of diffusers' for its tensor."""
    return network(x, t, return_dict=False)[0]


def lucidrains_unet(task: Task) -> torch.nn.Module:
    """denoising_diffusion_pytorch's network with the same widths: other layers."""
    from denoising_diffusion_pytorch import Unet

    return Unet(task.ch, dim_mults=(1, 2, 2, 2), dropout=0.1, flash_attn=True)


def make_tables() -> Tables:
    """The paper's linear schedule, T = 1000, in float64."""
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    after = torch.cumprod(1 - beta, 0)
    before = torch.cat([after.new_ones(1), after[:-1]])
    sigma = beta.sqrt()
    sigma[0] = 0
    columns = (
        after.rsqrt(),
        (1 / after - 1).sqrt(),
        before.sqrt() * beta / (1 - after),
        (1 - beta).sqrt() * (1 - before) / (1 - after),
        sigma,
    )
    return Tables(after, [tuple(row) for row in torch.stack(columns, 1).tolist()])


def train_turn(
    network: torch.nn.Module, predict: Predict, place: Place, batch_size: int
) -> Callable[[], None]:
    """A training step of Sec. B of Ho et al. (2020) on images that stay the same."""
    parameters = list(network.parameters())
    ema = [parameter.detach().clone() for parameter in parameters]
    optimiser = torch.optim.Adam(parameters, lr=2e-4, fused=True)
    average = get_ema_multi_avg_fn(0.9999)
    alphas_cumprod = make_tables().alphas_cumprod.float().to(place.device)
    images = torch.randint(256, (batch_size, 3, 32, 32), dtype=torch.uint8)
    images, half = place.put(images), place.dtype == torch.bfloat16

    def turn() -> None:
        with torch.autocast(place.device.type, torch.bfloat16, enabled=half):
            loss = simple_loss(predict, images, alphas_cumprod)
        loss.backward()
        clip_grad_norm_(parameters, 1.0, foreach=True)
        optimiser.step()
        optimiser.zero_grad()
        average(ema, parameters, 0)

    return turn


def simple_loss(
    predict: Predict, images: torch.Tensor, alphas_cumprod: torch.Tensor
) -> torch.Tensor:
    """L_simple of uint8 images, each mirrored with probability one half."""
    x_0 = images.float() / 127.5 - 1
    row = torch.rand(len(x_0), 1, 1, 1, device=x_0.device)
    x_0 = torch.where(row < 0.5, x_0.flip(3), x_0)
    t = torch.randint(len(alphas_cumprod), (len(x_0),), device=x_0.device)
    alpha_bar = alphas_cumprod[t].reshape(-1, 1, 1, 1)
    eps = torch.randn_like(x_0)
    x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps
    return mse_loss(predict(x_t, t).float(), eps)


def reverse_chain(predict: Predict, place: Place, task: Task, tables: Tables) -> None:
    """The first reverse steps of Algorithm 2, written out by hand."""
    size = task.batch_size, 3, 32, 32
    x = place.put(torch.randn(size))
    with torch.inference_mode():
        for t in range(999, 999 - task.steps, -1):
            scale, noise, from_x_0, from_x_t, sigma = tables.steps[t]
            steps = torch.full(size[:1], t, device=place.device)
            eps = predict(x.to(place.dtype), steps).float()
            x_0 = (scale * x - noise * eps).clamp_(-1, 1)
            x = from_x_0 * x_0 + from_x_t * x + sigma * torch.randn_like(x)


def pipeline_turn(network: torch.nn.Module, task: Task) -> Callable[[], object]:
    """diffusers' DDPMPipeline as it is shipped, without its progress bar."""
    from diffusers import DDPMPipeline
    from diffusers import DDPMScheduler

    pipeline = DDPMPipeline(network, DDPMScheduler(variance_type="fixed_large"))
    pipeline.set_progress_bar_config(disable=True)
    half = torch.autocast(
        "cpu" if task.device == "cpu" else "cuda",
        torch.bfloat16,
        enabled=task.dtype == "bfloat16",
    )

    def turn() -> None:
        with half:
            pipeline(
                batch_size=task.batch_size,
                num_inference_steps=task.steps,
                output_type="np",
            )

    return turn
