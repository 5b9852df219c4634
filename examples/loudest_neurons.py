# ruff: noqa: T201
"""Print the five loudest neurons of every token.

livelens serve                                       # prints an address
python examples/loudest_neurons.py ADDRESS "Rome is the capital of"
"""

import asyncio
import sys

import numpy as np

from livelens.client import connect


async def main(url: str, prompt: str) -> None:
    async with connect(url) as client:
        run = await client.start_run(prompt, channels=["neurons"], max_new_tokens=32)
        async for step in run:
            loudest = np.argsort(-np.abs(step.neurons), axis=None)[:5]
            layers, indices = np.unravel_index(loudest, step.neurons.shape)
            names = [f"L{at[0]}N{at[1]} {step.neurons[tuple(at)]:.1f}" for at in np.transpose([layers, indices])]
            print(f"{step.pos:4} {step.text!r:16}", ", ".join(names))
        print(run.text)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
