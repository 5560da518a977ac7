"""What a call raises."""

from service.client.results import Problem


class OvationError(Exception):
    """A call that has no answer."""


class ApiError(OvationError):
    """The service, or a proxy before it, refused the request, and asking again would not help or did not."""

    def __init__(self, problem: Problem) -> None:
        kind = f", {problem.error_type}" if problem.error_type else ""
        super().__init__(f"expected an answer, found {problem.status}{kind}: {problem.detail}")
        self.problem = problem
        self.status = problem.status


class Unreachable(OvationError):
    """There was no connection to the service, or it was cut before the answer was whole."""


class DeadlineExceeded(OvationError):
    """The time of the call was over; `problem` is the service's last refusal, where there was one."""

    def __init__(self, seconds: float, problem: Problem | None) -> None:
        last = f"; the last refusal was {problem.status}: {problem.detail}" if problem else ""
        super().__init__(f"expected an answer within {seconds:g} s, found none{last}")
        self.problem = problem


class UnexpectedAnswer(OvationError):
    """What answered is not Ovation, or a version of it that this client does not know."""
