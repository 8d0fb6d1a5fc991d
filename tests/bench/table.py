"""In: what the builders took in a case. Out: medians, ratios, what was wanted beside them, and a text of it."""

from dataclasses import dataclass
from statistics import median


@dataclass
class Measured:
    """All runs of a row."""

    # Runs by builder; and why a builder has none.
    found: dict
    failed: dict
    # Whether lapstrake's images were those of the slow path.
    same: bool | None
    # For each run, what the work takes this machine at least, by itself and with the registry's part.
    least: list
    # The size of lapstrake's blobs as a part of what `gzip -6` makes.
    beside_gzip: float | None


def builder(runs):
    """The medians of a builder."""
    result = {
        "seconds": median(each.seconds for each in runs),
        "all_seconds": [round(each.seconds, 4) for each in runs],
        "peak_mib": max(each.peak_kib for each in runs) / 1024,
        "stored_mib": median(each.stored_bytes for each in runs) / 2**20,
        "sent_mib": median(each.sent_bytes for each in runs) / 2**20,
    }
    if all(each.beyond_seconds is not None for each in runs):
        result["beyond_seconds"] = median(each.beyond_seconds for each in runs)
    return result


def summary(row, measured, is_judged):
    """The medians of a row, and the medians of the ratios run by run."""
    found = measured.found
    result = {"name": row.name, "title": row.title, "same_as_slow_path": measured.same, "failed": measured.failed, "ratios": {}, "beyond_ratios": {}, "wanted": []}
    result["builders"] = {name: builder(runs) for name, runs in found.items()}
    if "lapstrake" not in found:
        return result
    ours = found["lapstrake"]
    for name in found.keys() - {"lapstrake"}:
        pairs = list(zip(ours, found[name]))
        result["ratios"][name] = median(one.seconds / other.seconds for one, other in pairs)
        if all("beyond_seconds" in result["builders"][each] for each in ("lapstrake", name)):
            result["beyond_ratios"][name] = median(one.beyond_seconds / other.beyond_seconds for one, other in pairs)
    if measured.least:
        result["least_seconds"], result["least_seconds_with_registry"] = (median(each) for each in zip(*measured.least))
        result["times_least"], result["times_least_with_registry"] = (
            median(one.seconds / least for one, least in zip(ours, each)) for each in zip(*measured.least)
        )
    if measured.beside_gzip:
        result["times_gzip"] = measured.beside_gzip
    result["wanted"] = list(verdicts(row, result)) if is_judged else []
    return result


def verdicts(row, result):
    """What is wanted of a row, and what was reached."""
    for name, ratio in sorted(result["ratios"].items()):
        if name in row.targets:
            yield verdict(f"of {name}", ratio, row.targets[name])
    for name, ratio in sorted(result["beyond_ratios"].items()):
        yield verdict(f"of {name} without the time in which commands ran", ratio, 0.30)
    if row.times_least and "times_least" in result:
        yield verdict("of what the machine takes at least", result["times_least"], row.times_least)
    if row.times_gzip and "times_gzip" in result:
        yield verdict("of the bytes of gzip -6", result["times_gzip"], row.times_gzip)
    yield verdict("MiB of memory", result["builders"]["lapstrake"]["peak_mib"], row.peak_mib)


def verdict(what, value, at_most):
    return {"what": what, "value": value, "at_most": at_most, "reached": value <= at_most}


def said(each):
    """A verdict as text."""
    digits = 1 if each["what"].startswith("MiB") else 3
    return f"{each['value']:.{digits}f} {each['what']} (wanted {each['at_most']:g}: {'reached' if each['reached'] else 'MISSED'})"


def line(result):
    """A row as text."""
    cells = [f"{result['name']:<8}{result['title']}"]
    for name, each in result["builders"].items():
        beyond = f"  without commands {each['beyond_seconds']:8.3f} s" if "beyond_seconds" in each else ""
        cells.append(f"{name:<9} {each['seconds']:8.3f} s {each['peak_mib']:7.1f} MiB  stored {each['stored_mib']:8.1f}  sent {each['sent_mib']:8.1f}{beyond}")
    cells += [f"{name} failed: {reason}" for name, reason in result["failed"].items()]
    wanted = {each["what"] for each in result["wanted"]}
    plain = [f"{ratio:.3f} of {name}" for name, ratio in sorted(result["ratios"].items()) if f"of {name}" not in wanted]
    if "times_least" in result:
        plain.append(f"{result['times_least']:.2f} of the {result['least_seconds']:.3f} s that the machine takes for it at least")
        if result["least_seconds_with_registry"] > result["least_seconds"]:
            plain.append(f"{result['times_least_with_registry']:.2f} of the {result['least_seconds_with_registry']:.3f} s with the registry's part")
    cells += [", ".join(plain)] if plain else []
    return "\n        ".join([*cells, *map(said, result["wanted"])])


def ending(results):
    """All that was wanted, in a sentence."""
    wanted = [(result["name"], each) for result in results for each in result["wanted"]]
    missed = [f"{name}: {said(each)}" for name, each in wanted if not each["reached"]]
    return "\n".join([f"{len(wanted) - len(missed)} of {len(wanted)} figures reached", *missed])
