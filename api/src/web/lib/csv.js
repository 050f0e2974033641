// Reads CSV files of the API (RFC 4180), while they arrive.

import { Problem } from "./api.js";

/**
 * Splits text into records of cells. Text may arrive in pieces.
 */
export class CsvReader {
  /** @type {string[]} */
  #record = [];
  #cell = "";
  #isQuoted = false;
  /** True after a quote inside a quoted cell: the end of the cell, or the first of two quotes. */
  #isQuote = false;

  /**
   * Returns the records that this piece completes.
   * @param {string} piece
   * @returns {string[][]}
   */
  read(piece) {
    const records = [];
    for (const character of piece) {
      if (this.#isQuoted && !this.#isQuote) {
        if (character === '"') this.#isQuote = true;
        else this.#cell += character;
        continue;
      }
      if (this.#isQuote && character === '"') {
        this.#cell += '"';
        this.#isQuote = false;
        continue;
      }
      if (this.#isQuote) this.#isQuoted = this.#isQuote = false;
      if (character === '"') this.#isQuoted = true;
      else if (character === ",") this.#endCell();
      else if (character === "\n") {
        this.#endCell();
        records.push(this.#record);
        this.#record = [];
      } else if (character !== "\r") this.#cell += character;
    }
    return records;
  }

  #endCell() {
    this.#record.push(this.#cell);
    this.#cell = "";
  }
}

/**
 * Reads a CSV file line by line; a line is an object with the names of the first line. The whole
 * file is never in memory. A file that is cut off is a `Problem`.
 * @param {string} path
 * @param {(line: Record<string, string>) => void} take
 */
export async function readCsv(path, take) {
  const reader = new CsvReader();
  /** @type {string[] | undefined} */
  let head;
  try {
    const response = await fetch(path, { headers: { Accept: "text/csv" }, cache: "no-store" });
    if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
    const text = response.body?.pipeThrough(new TextDecoderStream());
    for await (const piece of text ?? []) {
      for (const record of reader.read(piece)) {
        if (!head) head = record;
        else take(Object.fromEntries(head.map((name, index) => [name, record[index] ?? ""])));
      }
    }
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem(0, { code: "unreachable", detail: "The list could not be read to its end." });
  }
}

/** Removes the quote that keeps a spreadsheet from evaluating a cell. @param {string} cell */
export function evident(cell) {
  return /^'[=+\-@\t\r\n＝＋－＠]/.test(cell) ? cell.slice(1) : cell;
}
