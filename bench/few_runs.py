"""How much do a report's statistics see in few runs?

    python bench/few_runs.py        # half a minute

Of normal scores with a standard deviation of 1: how often a depth that is better is found, how
often one of several that are all alike is called better or worse, and how often the bootstrap's
95 % interval holds the truth. [docs/depth.md](../docs/depth.md) quotes it.
"""

import numpy as np

from crl_eqx.lab import permutation_test
from crl_eqx.lab._conclusions import SIGNIFICANT
from crl_eqx.lab._statistics import bootstrap


REPEATS = 2_000


def main():
    generator = np.random.default_rng(0)
    draw = lambda *shape, better=0.0: generator.normal(better, 1.0, shape)
    print("a depth that is better by so many standard deviations of its seeds is found in")
    for runs in (3, 5):
        found = {
            better: np.mean(
                [
                    permutation_test(draw(runs, better=better), draw(runs)) <= SIGNIFICANT
                    for _ in range(REPEATS)
                ]
            )
            for better in (1.0, 1.5, 2.0)
        }
        told = ", ".join(f"{better:g}: {share:.0%}" for better, share in found.items())
        print(f"  {runs} runs a side    {told}")
    print("of depths that are all alike, five runs each, one is called better or worse in")
    for depths in (3, 4, 6):
        called = []
        for _ in range(REPEATS // 2):
            first, *others = draw(depths, 5)
            p = [min(permutation_test(x, first), permutation_test(first, x)) for x in others]
            called.append(min(p) <= SIGNIFICANT)
        print(f"  {depths} depths         {np.mean(called):.0%}")
    print("the bootstrap's 95 % interval holds the truth in")
    for runs in (3, 5, 8, 12):
        spans = [bootstrap(draw(runs), seed=seed) for seed in range(REPEATS // 2)]
        print(f"  {runs:2} runs          {np.mean([low <= 0 <= high for low, high in spans]):.0%}")


if __name__ == "__main__":
    main()
