"""Problems of the API as exceptions."""

from typing import Any, TypeVar

from holdfast_client.types import Response

Body = TypeVar("Body")


class HoldfastProblem(Exception):
    """The API refused a request.

    `code` is stable; `problem` is the generated model with all members, such as `available` of
    `sold_out`. The message is for people.
    """

    def __init__(self, problem: Any) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.problem = problem
        self.code = str(problem.code)
        self.status = int(problem.status)


class UnexpectedResponse(Exception):
    """An error response that is no problem of the API, such as the page of a proxy."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the response has the status {status} and is no problem of Holdfast")
        self.status = status


def result(response: Response[Body]) -> Body:
    """Returns the body of a successful response of `sync_detailed`.

    Raises HoldfastProblem if the API refused the request.
    """
    if response.status_code < 400:
        return response.parsed
    if hasattr(response.parsed, "code") and hasattr(response.parsed, "detail"):
        raise HoldfastProblem(response.parsed)
    raise UnexpectedResponse(int(response.status_code))
