"""What swarm sessions show while they argue: who they are, and their text as appends. Pure.

Text is kept only while its session runs, and of each branch only the end. Pieces of one branch
that come between two turns are one event, so that a fast model costs no more than a slow one.
"""

from __future__ import annotations

from typing import Any, assert_never

import attrs

from .news import (
    SwarmBegan,
    SwarmBranchBegan,
    SwarmBranchOver,
    SwarmEnded,
    SwarmJudgeAsked,
    SwarmNews,
    SwarmText,
    SwarmVerdict,
)

MOST_SESSIONS = 32  # shown; the oldest goes, one that is over first
MOST_BRANCHES = 64  # of a session; what others say is not shown
TAIL_CHARS = 4096  # of a branch, for somebody who comes later
MOST_RATIONALE_CHARS = 1000
JUDGE = "judge"  # in place of the number of a branch: what it writes is text, too

_ENDS = {None: "ok", "cancelled": "cancelled"}  # by the kind of the error
_GOING = ("waiting", "thinking", "running")
_JUDGED = {"ok": "ok", "client_left": "cancelled", "request_cancelled": "cancelled"}  # by outcome


@attrs.define(eq=False)
class _Branch:
    model: str = ""
    stage: str = ""
    state: str = "running"
    tokens: int = 0
    tail: str = ""
    error: str | None = None


@attrs.define(eq=False)
class _Judge:
    model: str
    state: str = "judging"  # then "writing", where it does; at the end as a branch
    tail: str = ""


@attrs.define(eq=False)
class _Session:
    strategy: str
    began: float
    request_id: str | None = None
    branches: dict[int, _Branch] = attrs.field(factory=dict[int, _Branch])
    judge: _Judge | None = None
    verdict: dict[str, Any] | None = None
    ended: float | None = None
    outcome: str | None = None

    def branch(self, number: int) -> _Branch | None:
        if number not in self.branches and len(self.branches) < MOST_BRANCHES:
            self.branches[number] = _Branch()
        return self.branches.get(number)

    def tails(self) -> dict[str, str]:
        """The end of what each has said."""
        said = {str(number): branch.tail for number, branch in self.branches.items()}
        if self.judge is not None and self.judge.tail:
            said[JUDGE] = self.judge.tail
        return said

    def end(self, at: float, outcome: str) -> None:
        """Forget what was said; who is not over was stopped."""
        self.ended, self.outcome = at, outcome
        for branch in self.branches.values():
            branch.tail = ""
            if branch.state in _GOING:
                branch.state = "cancelled"
        if self.judge is not None:
            self.judge.tail = ""
            if self.judge.state in ("judging", "writing"):
                self.judge.state = _JUDGED.get(outcome, "failed")


@attrs.frozen
class Append:
    """Text to be added to what a branch has said; *number* rises by one over all sessions."""

    number: int
    session: str
    branch: int | str  # JUDGE: it is the judge's
    text: str


@attrs.define(eq=False)
class Swarms:
    """All sessions that are shown."""

    last: int = attrs.field(init=False, default=0)  # number of the last append
    _sessions: dict[str, _Session] = attrs.field(init=False, factory=dict[str, _Session])
    _fresh: dict[tuple[str, int | str], list[str]] = attrs.field(
        init=False, factory=dict[tuple[str, "int | str"], list[str]]
    )

    def hear(self, news: SwarmNews) -> None:
        """Take *news*; of an unknown session they are nothing."""
        if isinstance(news, SwarmBegan):
            self._begin(news)
            return
        session = self._sessions.get(news.session)
        if session is None or session.ended is not None:
            return
        match news:
            case SwarmBranchBegan():
                branch = session.branch(news.branch)
                if branch is not None:
                    branch.model, branch.stage, branch.state = news.model, news.stage, "waiting"
            case SwarmJudgeAsked():
                session.judge = session.judge or _Judge(news.model)
            case SwarmText():
                self._text(session, news)
            case SwarmBranchOver():
                branch = session.branch(news.branch)
                if branch is not None:
                    branch.model, branch.tokens = news.model, news.tokens
                    branch.stage, branch.error = news.stage, news.error
                    branch.state = _ENDS.get(news.error, "failed")
            case SwarmVerdict():
                session.verdict = {
                    "winner": news.winner,
                    "rationale": news.rationale[:MOST_RATIONALE_CHARS],
                    "votes": {str(branch): share for branch, share in news.votes.items()},
                    "judge": news.judge,
                }
                if session.judge is not None:
                    # One that gave no vote that counts is not named in the verdict.
                    session.judge.state = "failed" if news.judge is None else "ok"
            case SwarmEnded():
                session.end(news.at, news.outcome)
            case _:
                assert_never(news)

    def take(self) -> tuple[Append, ...]:
        """Return what was said since the last call, in order of branches."""
        appends: list[Append] = []
        for (session, branch), texts in self._fresh.items():
            self.last += 1
            appends.append(Append(self.last, session, branch, "".join(texts)))
        self._fresh.clear()
        return tuple(appends)

    def tails(self) -> dict[str, dict[str, str]]:
        """Return the end of what each branch of a running session has said, up to `last`."""
        return {
            name: session.tails()
            for name, session in self._sessions.items()
            if session.ended is None
        }

    def view(self, at_ms: float) -> dict[str, Any]:
        """Return all sessions without their text; *at_ms* is added to times in milliseconds."""
        return {
            name: {
                "strategy": session.strategy,
                "request_id": session.request_id,
                "started_ms": round(at_ms + session.began * 1000),
                "ended_ms": None if session.ended is None else round(at_ms + session.ended * 1000),
                "outcome": session.outcome,
                "judge": None
                if session.judge is None
                else {"model": session.judge.model, "state": session.judge.state},
                "verdict": session.verdict,
                "branches": {
                    str(number): {
                        "model": branch.model,
                        "stage": branch.stage or None,
                        "state": branch.state,
                        "tokens": branch.tokens,
                        "error": branch.error,
                    }
                    for number, branch in session.branches.items()
                },
            }
            for name, session in self._sessions.items()
        }

    def _begin(self, news: SwarmBegan) -> None:
        self._sessions.pop(news.session, None)
        while len(self._sessions) >= MOST_SESSIONS:
            over = (name for name, one in self._sessions.items() if one.ended is not None)
            del self._sessions[next(over, next(iter(self._sessions)))]
        session = self._sessions[news.session] = _Session(news.strategy, news.at, news.request_id)
        for number, model in list(news.branches.items())[:MOST_BRANCHES]:
            session.branches[number] = _Branch(model)

    def _text(self, session: _Session, news: SwarmText) -> None:
        if news.branch is None:
            self._judge_text(session, news)
            return
        branch = session.branch(news.branch)
        if branch is None:
            return
        branch.model, branch.stage = news.model or branch.model, news.stage or branch.stage
        branch.tokens += 1
        branch.state = "running" if news.text or branch.tail else "thinking"
        if news.text:
            branch.tail = (branch.tail + news.text)[-TAIL_CHARS:]
            self._fresh.setdefault((news.session, news.branch), []).append(news.text)

    def _judge_text(self, session: _Session, news: SwarmText) -> None:
        judge = session.judge = session.judge or _Judge(news.model)
        judge.state = "writing"
        judge.tail = (judge.tail + news.text)[-TAIL_CHARS:]
        self._fresh.setdefault((news.session, JUDGE), []).append(news.text)
