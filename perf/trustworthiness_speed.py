"""Time trustworthiness against scikit-learn's: ``python perf/trustworthiness_speed.py [points] [features]``.

Each side runs in a process of its own, so that its peak memory is its own; points and imports count for both.
"""

import json
import resource
import subprocess
import sys
import time

import numpy as np

K = 15


def spaces(n_points: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """A curved sheet with noise, and its first three coordinates."""
    rng = np.random.default_rng(0)
    sheet = rng.standard_normal((n_points, 3))
    high = np.sin(sheet @ rng.standard_normal((3, n_features))) + 0.3 * rng.standard_normal((n_points, n_features))
    return high, sheet


def theirs(high: np.ndarray, low: np.ndarray) -> float:
    """scikit-learn."""
    from sklearn.manifold import trustworthiness

    return float(trustworthiness(high, low, n_neighbors=K))


def ours(high: np.ndarray, low: np.ndarray) -> float:
    """Interp, its compilation in the time when nothing is cached."""
    from interp.geometry import trustworthiness

    return trustworthiness(high, low, k=K).value


def one(side: str, n_points: int, n_features: int) -> None:
    """Measure one side and print it as JSON."""
    high, low = spaces(n_points, n_features)
    measure = {"scikit-learn": theirs, "interp": ours}[side]
    measure(high[:100], low[:100])
    wall, processor = time.perf_counter(), time.process_time()
    value = measure(high, low)
    figures = {"value": value, "wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
    figures["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(json.dumps(figures))


def main(n_points: int, n_features: int) -> None:
    """Print both sides and the ratios."""
    found = {}
    for side in ("interp", "scikit-learn"):
        command = [sys.executable, __file__, side, str(n_points), str(n_features)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[side] = json.loads(done.stdout)
        spent = f"{found[side]['wall']:6.1f} s, {found[side]['processor']:6.1f} s of processor"
        print(f"{side:12s} {spent}, peak {found[side]['peak']:5.2f} GiB, {found[side]['value']:.15f}")
    us, them = found["interp"], found["scikit-learn"]
    times = f"{them['wall'] / us['wall']:.1f} times faster, {them['processor'] / us['processor']:.1f} by processor"
    print(f"{n_points} x {n_features}: {times}, in 1/{them['peak'] / us['peak']:.0f} of the memory")
    print(f"difference {abs(us['value'] - them['value']):.1e}")


if __name__ == "__main__":
    if len(sys.argv) > 3:
        one(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        numbers = [int(word) for word in sys.argv[1:]]
        main(*(numbers + [20_000, 10][len(numbers) :]))
