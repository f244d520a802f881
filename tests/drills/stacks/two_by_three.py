"""A third replica."""

from stack.stacks.vllm_haproxy import stack

STACK = stack(
    replicas=3,
)
