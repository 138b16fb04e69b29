"""The whole line in Python, on one screen.

Run it (`python examples/line.py`), or cell by cell in an editor that knows `# %%`. It needs nothing
but the package: the network and a few images come with it. About three minutes on two cores.
"""

from pathlib import Path

import srdeploy as sr

# %% A network: a shipped one, your own file, a checkpoint of EDSR-PyTorch...
dense = sr.load("edsr-s-x2")
print(dense.card.arch, f"x{dense.card.scale}", dense.card.widths)

# %% Choose half of its channels, take them out, prove that nothing else changed
plan = sr.plan(dense, 0.5, round_to=8)
small = sr.compact(dense, plan)  # sr.prune(dense, 0.5, round_to=8) does both
print(small.card.widths, small.card.proof)

# %% Win the quality back (the same call resumes; data="DIV2K/HR" for good results)
small = sr.finetune(small, iterations=1500, run_dir="runs/example")
print(sr.evaluate(dense).psnr, "->", sr.evaluate(small).psnr)

# %% Files: the network with its story, and an artifact that was compared with it
sr.save(small, "small.safetensors")
sr.export(dense, "dense.onnx")
report = sr.export(small, "small.onnx")
print(report.parity)

# %% Measure in turns: ratios refer to the first
rows = sr.bench("dense.onnx", "small.onnx")
for row in rows:
    print(row.artifact, row.p50_ms, "ms", row.figure("psnr"), "dB")

# %% One page for a colleague
print(sr.report(*rows, output="report.html").sentences)

# %% A picture of any size, in tiles where memory asks for them
photo = Path(sr.__file__).parent / "assets/images/benchmark/coffee.png"  # or one of yours
sr.upscale("small.onnx", photo, "photo_x2.png")
