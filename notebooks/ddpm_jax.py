# ---
# jupyter:
#   accelerator: GPU
#   colab:
#     name: ddpm_jax.ipynb
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Denoising diffusion in JAX, on real digits
#
# Ho, Jain and Abbeel, *Denoising Diffusion Probabilistic Models* (2020), step by step:
# noise real digits, train a small network to undo it, draw new digits, and watch a
# chain turn noise into one. Then what the same network can do besides: draw in 20
# steps, clean a noisy image, say how likely an image is, and, told labels, draw what is
# asked for. On a CPU the whole notebook takes some minutes.
#
# This notebook is kept as a percent script. To build the `.ipynb` from it:
#
# ```sh
# make notebooks
# ```

# %% [markdown]
# ## Install
#
# Nothing happens here where `ddpm_jax` can be imported already. Elsewhere, as in Colab,
# set `SOURCE` to the address of the repository, as pip takes it. JAX is installed for
# the hardware of the machine: that of another version would leave the GPU unused.

# %%
import importlib.util
import os
import shutil
import subprocess
import sys

SOURCE = ""  # such as "git+https://github.com/OWNER/ddpm_jax"

if importlib.util.find_spec("ddpm_jax") is None:
    if not SOURCE:
        raise SystemExit("set SOURCE to the address of the repository, and run again")
    extra = "[cuda]" if shutil.which("nvidia-smi") else ""
    extra = "[tpu]" if os.path.exists("/dev/vfio/0") else extra
    requirement = f"ddpm_jax{extra} @ {SOURCE}"
    subprocess.run([sys.executable, "-m", "pip", "install", requirement], check=True)

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.animation import FuncAnimation

from ddpm_jax import SCHEDULES
from ddpm_jax import bits_per_dim
from ddpm_jax import classifier_free_eps
from ddpm_jax import ddpm_sample
from ddpm_jax import ddpm_sample_frames
from ddpm_jax import dpmpp_sample
from ddpm_jax import make_schedule
from ddpm_jax import make_time_grid
from ddpm_jax import q_sample
from ddpm_jax import simple_loss
from ddpm_jax.data import batches
from ddpm_jax.data import load
from ddpm_jax.data import load_digits
from ddpm_jax.devices import device_report
from ddpm_jax.editing.denoise import denoise
from ddpm_jax.guidance import drop_labels
from ddpm_jax.images import grid
from ddpm_jax.images import to_model_range
from ddpm_jax.images import to_uint8
from ddpm_jax.loading import load_trained
from ddpm_jax.sampling import even_steps
from ddpm_jax.train_step import init_state
from ddpm_jax.train_step import make_optimiser
from ddpm_jax.train_step import train_step
from ddpm_jax.unet import UNet

print(device_report())

# %% [markdown]
# `WORKDIR` may name the folder of a run of `train.py`, such as `runs/digits`; its model
# is then drawn from, and none is trained here. `DDPM_JAX_SMOKE=1` asks for the smallest
# sizes, to check that every cell runs; the pictures show noise then.

# %%
WORKDIR = None
SMOKE = os.environ.get("DDPM_JAX_SMOKE") == "1"
NUM_TIMESTEPS = 20 if SMOKE else 1000
TRAIN_STEPS = 3 if SMOKE else 1600
BATCH_SIZE = 8 if SMOKE else 64
NUM_IMAGES = 4 if SMOKE else 36
NUM_FRAMES = 5 if SMOKE else 50


def show(images, columns=None, height=4.0):
    """Shows uint8 images [N, H, W, C] as a grid."""
    board = grid(np.asarray(images), columns)
    plt.figure(figsize=(height * board.shape[1] / board.shape[0], height))
    plt.imshow(board, cmap="gray", vmin=0, vmax=255)
    plt.axis("off")
    plt.show()


# %% [markdown]
# ## The forward process
#
# scikit-learn ships 1,797 digits of 8x8 pixels. They are held as `uint8`, and the model
# sees them in [-1, 1].

# %%
images, labels = load_digits()
print(images.shape, images.dtype, "labels of the first:", labels[:8].tolist())
digits = load("digits")  # the same, of which 360 are held out
show(images[:24], columns=8)

# %% [markdown]
# A schedule says how much noise each of the T steps adds, and holds the tables that
# follow from it. `q_sample` noises an image to step t at once (Eq. 4):
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon$$
#
# t counts from 0: t = 0 is one step of noise, and t = T - 1 is as good as noise alone.

# %%
schedule = make_schedule(SCHEDULES["linear"](NUM_TIMESTEPS, 1e-4, 0.02))
steps = even_steps(NUM_TIMESTEPS, 10)[::-1]

x_0 = to_model_range(jnp.asarray(images[:4]))
eps = jax.random.normal(jax.random.key(0), x_0.shape)
strip = [q_sample(schedule, x_0, jnp.full(4, t), eps) for t in steps]
rows = to_uint8(jnp.stack([x_0, *strip], axis=1))  # [4, 11, 8, 8, 1]
print("original, then t =", steps)
show(rows.reshape(-1, 8, 8, 1), columns=1 + len(steps), height=3)

# %% [markdown]
# ## Train, or load
#
# The network is a Flax module, and its `apply` is the `eps_fn` that losses and samplers
# take: `(params, x_t, t) -> eps`. The loss is L_simple (Eq. 14): the squared error of
# the predicted noise, one number for each image.


# %%
def small_unet(num_classes=None):
    """A U-Net for 8x8 gray images."""
    return UNet(
        out_channels=1,
        num_classes=num_classes,
        ch=4 if SMOKE else 32,
        ch_mult=(1,) if SMOKE else (1, 2),
        num_res_blocks=1,
        attention_resolutions=(4,),
        dropout=0.0,
        num_groups=2 if SMOKE else 32,
    )


def train_digits(model, loss_fn, seed=0):
    """Trains a network on the digits; returns the EMA of its parameters."""
    optimiser = make_optimiser(
        2e-3, warmup_steps=TRAIN_STEPS // 16, decay_steps=TRAIN_STEPS
    )
    # A pure step: state, batch and key in, state and scalars out.
    step = functools.partial(
        train_step, loss_fn=loss_fn, optimiser=optimiser, ema_decay=0.99, flip=False
    )
    step = jax.jit(step, donate_argnums=0)

    init_key, train_key = jax.random.split(jax.random.key(seed))
    labels = None if model.num_classes is None else digits.train_labels
    feed = batches(digits.train, labels, seed=seed, start_step=0, batch_size=BATCH_SIZE)
    x, t = jnp.zeros((1, 8, 8, 1)), jnp.zeros(1, jnp.int32)
    params = jax.jit(model.init)(init_key, x, t)
    state = init_state(params, optimiser)
    losses = []
    for _ in range(TRAIN_STEPS):
        # The step folds its own number into the key, so that one key serves them all.
        state, metrics = step(state, next(feed), train_key)
        losses.append(metrics["loss"])
    plt.plot(jax.device_get(losses))
    plt.xlabel("step"), plt.ylabel("L_simple"), plt.yscale("log")
    plt.show()
    return state.ema_params


# %%
if WORKDIR is None:
    model = small_unet()

    def loss_fn(params, keys, x_0, dropout_keys):
        """L_simple [B]; there is no dropout in this network."""
        return simple_loss(params, keys, x_0, eps_fn=model.apply, schedule=schedule)

    params, shape = train_digits(model, loss_fn), (8, 8, 1)
    functions = {"eps_fn": model.apply, "variance": "fixed_large", "clip_x0": True}
else:
    trained = load_trained(WORKDIR)
    params, parts = trained.params, trained.parts
    schedule, shape = parts.schedule, parts.shape
    functions = parts.sampler

# %% [markdown]
# ## Draw
#
# `ddpm_sample` is Algorithm 2 as one `lax.scan`. Compiled, all T steps run on the
# device in one call. The shape and the functions are static; parameters, key and
# schedule are not. Image i depends on the key and i alone: ask for more images, and the
# first are the same as before.

# %%
sample = jax.jit(ddpm_sample, static_argnames=("shape", *functions))
x_0 = sample(
    params, jax.random.key(1), (NUM_IMAGES, *shape), schedule=schedule, **functions
)
show(to_uint8(x_0))

# %% [markdown]
# ## Watch a chain
#
# `ddpm_sample_frames` draws the same images and keeps what the chain looked like at
# chosen t: x_t itself, above, and the x_0 that the network saw in it, below. At large t
# that guess is rough, as a small error of the noise is a large one of the image there.

# %%
kept = even_steps(schedule.num_timesteps, NUM_FRAMES)
sample_frames = jax.jit(
    ddpm_sample_frames, static_argnames=("shape", "frame_steps", *functions)
)
x_0, frames = sample_frames(
    params,
    jax.random.key(1),
    (NUM_IMAGES, *shape),
    frame_steps=kept,
    schedule=schedule,
    **functions,
)
some = np.unique(np.linspace(0, len(kept) - 1, 10).astype(int))
print("t =", [kept[i] for i in some])
pair = np.stack([frames.x_t[some, 0], frames.x_0[some, 0]])  # [2, 10, H, W, C]
show(to_uint8(pair.reshape(-1, *shape)), columns=len(some), height=2)

# %%
boards = [grid(np.asarray(to_uint8(x_t))) for x_t in (*frames.x_t, x_0)]
figure, axes = plt.subplots(figsize=(4, 4))
axes.axis("off")
picture = axes.imshow(boards[0], cmap="gray", vmin=0, vmax=255)


def draw_frame(number):
    """Puts one frame into the picture."""
    picture.set_data(boards[number])
    return (picture,)


animation = FuncAnimation(figure, draw_frame, frames=len(boards), interval=80)
plt.close(figure)
HTML(animation.to_jshtml())

# %% [markdown]
# ## Draw in 20 steps
#
# The network knows every t, so a chain may leave some out. A `TimeGrid` says which t
# are asked; DPM-Solver++ follows the chain's flow from one to the next by a method of
# second order. `docs/samplers.md` shows and measures all the samplers.

# %%
time_grid = make_time_grid(schedule, min(20, schedule.num_timesteps))
sample_fast = functools.partial(dpmpp_sample, grid=time_grid, **functions)
sample_fast = jax.jit(sample_fast, static_argnames="shape")
show(to_uint8(sample_fast(params, jax.random.key(1), (NUM_IMAGES, *shape))))

# %% [markdown]
# ## Clean an image
#
# A noisy image, scaled, is an x_t: that of the t whose noise is as strong. So one call
# of the network cleans it, and the answer is the mean of all images that may lie
# behind. These digits are held out: the network has not seen them.

# %%
if shape == (8, 8, 1):
    clean = to_model_range(jnp.asarray(digits.held_out[np.arange(8)]))
    noise = 0.5  # its standard deviation, where the pixels are -1 to 1
    noisy = clean + noise * jax.random.normal(jax.random.key(2), clean.shape)
    cleaned = jax.jit(denoise, static_argnames=(*functions,))(
        params, noisy, noise=noise, schedule=schedule, **functions
    )
    for name, x in {"noisy": noisy, "cleaned": cleaned}.items():
        error = jnp.mean((to_uint8(x) / 255.0 - to_uint8(clean) / 255.0) ** 2)
        print(f"{name}: PSNR {-10 * jnp.log10(error):.1f} dB")
    show(to_uint8(jnp.concatenate([clean, noisy, cleaned])), columns=8, height=3)

# %% [markdown]
# ## How likely is an image?
#
# The loss weighs all t alike; the variational bound (Eq. 5) weighs them so that their
# sum is the length of a code: bits for each pixel, of which 8 would do without a model.
# Nearly all of them go to the smallest t, the details that nobody sees.

# %%
if shape == (8, 8, 1):
    evaluate = jax.jit(bits_per_dim, static_argnames=(*functions,))
    bits = evaluate(params, jax.random.key(3), clean, schedule=schedule, **functions)
    terms = np.asarray(bits.terms).mean((0, 1))  # [T]
    print(f"{terms.sum() + float(bits.prior.mean()):.2f} bits/dim")
    plt.plot(terms)
    plt.xlabel("t"), plt.ylabel("L_t, bits/dim"), plt.yscale("log")
    plt.show()

# %% [markdown]
# ## Draw what is asked for
#
# A second network is told which digit it sees, but for one time in ten, where it is
# told nothing: label 10. So it knows eps with and without a label, and classifier-free
# guidance (Ho and Salimans 2022) goes on in the direction from the one to the other.
# Guidance is a function from eps_fn to eps_fn: every sampler takes it.

# %%
NUM_CLASSES = 10
labelled = small_unet(NUM_CLASSES)
linear_schedule = make_schedule(SCHEDULES["linear"](NUM_TIMESTEPS, 1e-4, 0.02))


def labelled_loss(params, keys, x_0, dropout_keys, labels):
    """L_simple [B] of a network that is told a label, or none."""
    labels = drop_labels(dropout_keys, labels, NUM_CLASSES, 0.1)
    eps_fn = functools.partial(labelled.apply, labels=labels)
    return simple_loss(params, keys, x_0, eps_fn=eps_fn, schedule=linear_schedule)


labelled_params = train_digits(labelled, labelled_loss)

# %%
asked = jnp.arange(2 * NUM_CLASSES) % NUM_CLASSES
guided = functools.partial(
    classifier_free_eps,
    eps_fn=labelled.apply,
    labels=asked,
    null_label=NUM_CLASSES,
    scale=2.0,
)
time_grid = make_time_grid(linear_schedule, min(20, NUM_TIMESTEPS))
sample_asked = functools.partial(dpmpp_sample, grid=time_grid, eps_fn=guided)
sample_asked = jax.jit(sample_asked, static_argnames="shape")
x_0 = sample_asked(labelled_params, jax.random.key(4), (len(asked), 8, 8, 1))
show(to_uint8(x_0), columns=NUM_CLASSES, height=2)

# %% [markdown]
# ## Further
#
# - `python train.py --config configs/cifar.py` is the paper's run on CIFAR-10;
#   `train.py` adds checkpoints, TensorBoard, several devices and resuming to the loop
#   above.
# - `docs/maths.md` says which function is which equation of the paper.
# - `docs/architecture.md` says how to add a schedule, an objective, a sampler or a data
#   set.
