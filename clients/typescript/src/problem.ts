// Problems of the API as exceptions.

import type { components } from "./schema.js";

type Schemas = components["schemas"];

/** Every problem of the API; `code` distinguishes them. */
export type Problem = Schemas[Extract<keyof Schemas, `${string}Problem`>];
export type ProblemCode = Problem["code"];

/** The API refused a request. `code` is stable; the message is for people. */
export class HoldfastProblem extends Error {
  override readonly name = "HoldfastProblem";
  readonly code: ProblemCode;
  readonly status: number;
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(`${problem.code}: ${problem.detail}`);
    this.code = problem.code;
    this.status = problem.status;
    this.problem = problem;
  }

  /** Returns the problem with the members of this code, or undefined if it has another code. */
  as<Code extends ProblemCode>(code: Code): Extract<Problem, { code: Code }> | undefined {
    return this.code === code ? (this.problem as Extract<Problem, { code: Code }>) : undefined;
  }
}

/** An error response that is no problem of the API, such as the page of a proxy. */
export class UnexpectedResponse extends Error {
  override readonly name = "UnexpectedResponse";
  readonly status: number;

  constructor(status: number) {
    super(`the response has the status ${status} and is no problem of Holdfast`);
    this.status = status;
  }
}

/** Returns the exception for an error response with this body. */
export function failure(body: unknown, status: number): HoldfastProblem | UnexpectedResponse {
  const isProblem = typeof body === "object" && body !== null && "code" in body && "detail" in body;
  return isProblem ? new HoldfastProblem(body as Problem) : new UnexpectedResponse(status);
}
