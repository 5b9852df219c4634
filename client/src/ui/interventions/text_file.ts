// A text file that a person chooses as a reference: its words, or one sentence about why it is none.

/** More than the server takes in one text; the rest of a longer file would have to be left out unseen. */
export const MAX_FILE_CHARS = 48 * 1024;

/** The text of `file` without the line ends at its end; throws TextFileError. */
export async function read_text_file(file: File): Promise<string> {
  if (file.size === 0) throw new TextFileError(`${file.name} is empty.`);
  if (file.size > 4 * MAX_FILE_CHARS) throw new TextFileError(`${file.name} is too long: a reference may have ${MAX_FILE_CHARS} characters.`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new TextFileError(`${file.name} is not text in UTF-8, or could not be read.`);
  }
  if (text.includes("\0") || text.includes("\ufffd")) throw new TextFileError(`${file.name} is not text: it holds bytes that are no characters.`);
  const words = text.replace(/[\r\n]+$/, "");
  if (words.trim() === "") throw new TextFileError(`${file.name} holds nothing but blanks.`);
  if (words.length > MAX_FILE_CHARS) throw new TextFileError(`${file.name} is too long: a reference may have ${MAX_FILE_CHARS} characters.`);
  return words;
}

/** What is wrong with a file, in one sentence. */
export class TextFileError extends Error {}
