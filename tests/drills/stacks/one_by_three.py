"""A single gateway, and a third replica."""

from stack.stacks.vllm_haproxy import stack

STACK = stack(
    gateways=1,
    replicas=3,
)
