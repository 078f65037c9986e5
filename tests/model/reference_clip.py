"""CLIP in plain NumPy, float64, written from OpenAI's published architecture (`clip/model.py`): the tests' reference.

Shapes: B rows, L positions, W width, H heads, S image size, P patch size.
One row, one head, one patch at a time: slow, and easy to check by eye. Parameters are flat, path → array.
"""

import numpy as np
from scipy.special import erf


def as_float64(params):
    return {path: np.asarray(leaf, np.float64) for path, leaf in params.items()}


def subtree(params, prefix):
    return {path.removeprefix(prefix): leaf for path, leaf in params.items() if path.startswith(prefix)}


def layer_norm(x, params):
    mean = x.mean(axis=-1, keepdims=True)
    variance = x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * params["scale"] + params["bias"]


def linear(x, params):
    return x @ params["kernel"] + params["bias"]


def softmax(x):
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def activate(x, activation):
    if activation == "quick_gelu":
        return x / (1 + np.exp(-1.702 * x))
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def attention(x, params, heads, causal):
    """`torch.nn.MultiheadAttention` on one row [L, W]."""
    L, W = x.shape
    queries, keys, values = np.split(linear(x, subtree(params, "in_proj/")), 3, axis=-1)
    outputs = []
    for head in range(heads):
        columns = slice(head * W // heads, (head + 1) * W // heads)
        logits = queries[:, columns] @ keys[:, columns].T / np.sqrt(W // heads)
        if causal:
            logits = np.where(np.arange(L)[:, None] >= np.arange(L), logits, -np.inf)
        outputs.append(softmax(logits) @ values[:, columns])
    return linear(np.concatenate(outputs, axis=-1), subtree(params, "out_proj/"))


def transformer(x, params, layers, heads, activation, causal):
    """Pre-norm residual blocks on one row [L, W]."""
    for layer in range(layers):
        block = subtree(params, f"resblocks_{layer}/")
        x = x + attention(layer_norm(x, subtree(block, "ln_1/")), subtree(block, "attn/"), heads, causal)
        hidden = activate(linear(layer_norm(x, subtree(block, "ln_2/")), subtree(block, "mlp/c_fc/")), activation)
        x = x + linear(hidden, subtree(block, "mlp/c_proj/"))
    return x


def convolve_patches(image, kernel):
    """Convolution of stride P of [S, S, 3] with [P, P, 3, W] as an explicit sum → [(S/P)², W], row by row."""
    P = kernel.shape[0]
    outputs = []
    for top in range(0, image.shape[0], P):
        for left in range(0, image.shape[1], P):
            output = np.zeros(kernel.shape[-1])
            for row in range(P):
                for column in range(P):
                    for channel in range(3):
                        output += image[top + row, left + column, channel] * kernel[row, column, channel]
            outputs.append(output)
    return np.array(outputs)


def encode_image(params, config, images):
    """[B, S, S, 3] → [B, D]."""
    params, vision = subtree(as_float64(params), "visual/"), config.vision
    outputs = []
    for image in np.asarray(images, np.float64):
        x = np.concatenate([params["class_embedding"][None], convolve_patches(image, params["conv1"])])
        x = layer_norm(x + params["positional_embedding"], subtree(params, "ln_pre/"))
        blocks = subtree(params, "transformer/")
        x = transformer(x, blocks, vision.layers, vision.heads, config.activation, causal=False)
        outputs.append(layer_norm(x[0], subtree(params, "ln_post/")) @ params["proj"])
    return np.array(outputs)


def encode_text(params, config, tokens):
    """[B, L] → [B, D]; each row is read at its largest id."""
    params, text = subtree(as_float64(params), "text/"), config.text
    outputs = []
    for row in np.asarray(tokens):
        x = params["token_embedding"][row] + params["positional_embedding"][: len(row)]
        blocks = subtree(params, "transformer/")
        x = transformer(x, blocks, text.layers, text.heads, config.activation, causal=True)
        outputs.append(layer_norm(x, subtree(params, "ln_final/"))[np.argmax(row)] @ params["text_projection"])
    return np.array(outputs)
