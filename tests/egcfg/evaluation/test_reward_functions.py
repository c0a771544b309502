"""Reward functions as trainers call them; with the real packages where they are installed."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import egcfg
from egcfg.errors import SandboxError, UsageError
from egcfg.evaluation import reward_functions
from egcfg.interfaces.problem import AssertTest, Problem

PROBLEMS = [
    Problem(
        task_id=name,
        description="",
        entry_point="f",
        visible_tests=[AssertTest(f"assert f(1) == {value}"), AssertTest("assert f(0) == 0")],
    )
    for name, value in (("same", 1), ("double", 2))
]
SAME = "def f(x):\n    return x\n"
DOUBLE = "Of course:\n```python\ndef f(x):\n    return 2 * x\n```"


def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = egcfg.Reward(status=egcfg.TestStatus.SANDBOX_ERROR, share=0.0, error="no room")

    async def later(programs: list[str], _: object) -> list[egcfg.Reward]:
        return [failed] * len(programs)

    monkeypatch.setattr(reward_functions, "reward", later)
    monkeypatch.setattr(
        reward_functions, "reward_blocking", lambda programs, _: [failed] * len(programs)
    )


def test_a_trainer_gets_one_reward_per_completion_by_its_columns() -> None:
    call: dict[str, Any] = {
        "prompts": ["a", "b", "c", "d"],
        "completions": [
            SAME,
            [
                {"role": "assistant", "content": "Let me see."},
                {"role": "assistant", "content": SAME},
            ],
            [{"role": "assistant", "content": [{"type": "text", "text": DOUBLE}]}],
            [{"role": "assistant", "content": None}],
        ],
        "completion_ids": [[1], [2], [3], [4]],
        "task_id": ["same", "double", "double", "same"],
        "trainer_state": None,
    }
    told: dict[str, list[Any]] = {}
    function = egcfg.GrpoReward(PROBLEMS)
    assert function(**call, log_extra=told.__setitem__) == [1.0, 0.0, 1.0, 0.0]
    assert told == {"status": ["passed", "failed", "passed", "error"]}
    graded = egcfg.GrpoReward(PROBLEMS, graded=True)
    assert pickle.loads(pickle.dumps(graded))(**call) == [1.0, 0.5, 1.0, 0.0]
    assert function.__name__ == "egcfg_reward"


def test_a_data_set_without_task_ids_is_an_error_that_says_what_to_add() -> None:
    function = egcfg.GrpoReward(PROBLEMS)
    with pytest.raises(UsageError, match=r"no column 'task_id'.*did you mean 'task_ids'"):
        function(completions=[SAME], task_ids=["same"])
    with pytest.raises(UsageError, match=r"task id 'sane'.*did you mean 'same'"):
        function(completions=[SAME], task_id=["sane"])
    other = egcfg.GrpoReward(PROBLEMS, column="which")
    assert other(completions=[SAME], which=["same"]) == [1.0]


def test_a_completion_that_the_sandbox_failed_on_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken(monkeypatch)
    assert egcfg.GrpoReward(PROBLEMS)(completions=[SAME], task_id=["same"]) == [None]
    task, trace = SimpleNamespace(id="same"), SimpleNamespace(last_reply=SAME)
    with pytest.raises(SandboxError, match="failed on an answer to same: no room"):
        asyncio.run(egcfg.verifiers_reward(PROBLEMS)(task, trace))


def test_the_reward_of_a_trace_is_that_of_its_last_reply() -> None:
    function = egcfg.verifiers_reward(PROBLEMS, graded=True)

    async def rewards() -> list[float]:
        replies = [("same", SAME), ("double", SAME), ("double", DOUBLE)]
        calls = [
            function(SimpleNamespace(id=name), SimpleNamespace(last_reply=reply))
            for name, reply in replies
        ]
        return list(await asyncio.gather(*calls))

    assert asyncio.run(rewards()) == [1.0, 0.5, 1.0]
    named = SimpleNamespace(id=None, name="double")
    assert asyncio.run(function(named, SimpleNamespace(last_reply=DOUBLE))) == 1.0
    with pytest.raises(UsageError, match="no problem has the task id None"):
        asyncio.run(function(SimpleNamespace(id=None), SimpleNamespace(last_reply=SAME)))


plugged = egcfg.verifiers_reward(PROBLEMS, graded=True)


def test_verifiers_scores_a_trace_with_the_function_plugged_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vf = pytest.importorskip("verifiers.v1", reason="verifiers is not installed")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    config = vf.TaskConfig(rewards={"tests": {"fn": f"{Path(__file__).stem}:plugged"}})

    class Writing(vf.Task):  # type: ignore[misc, name-defined]
        pass

    def scored(reply: str) -> Any:
        task = Writing(vf.TaskData(id="double", name="double", prompt="Double it."), config)
        trace = vf.Trace(
            task=vf.TraceTask(type="Writing", data=task.data),
            agent=vf.AgentInfo.model_construct(),
            nodes=[{"message": {"role": "assistant", "content": reply}, "sampled": True}],
        )
        asyncio.run(task.score(trace, None))
        return trace.rewards["tests"].score

    assert [scored(DOUBLE), scored(SAME), scored("")] == [1.0, 0.5, 0.0]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, by trl
def test_trl_trains_a_step_with_the_function(tiny_llama: Path, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    datasets = pytest.importorskip("datasets")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.pad_token = tokenizer.eos_token
    trainer = trl.GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_llama),
        processing_class=tokenizer,
        reward_funcs=egcfg.GrpoReward(PROBLEMS),
        train_dataset=datasets.Dataset.from_list([{"prompt": "def f(x):", "task_id": "same"}] * 2),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            max_steps=1,
            per_device_train_batch_size=2,
            num_generations=2,
            max_completion_length=8,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            logging_steps=1,
        ),
    )
    trainer.train()
    assert trainer.state.log_history[0]["rewards/egcfg_reward/mean"] == 0.0
