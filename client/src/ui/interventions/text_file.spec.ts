import { describe, expect, it } from "vitest";
import { MAX_FILE_CHARS, read_text_file } from "./text_file";

const file = (...parts: BlobPart[]): File => new File(parts, "notes.txt");
const problem = (chosen: File): Promise<string> => read_text_file(chosen).then(() => "none", (error: Error) => error.message);

describe("a text file as a reference", () => {
  it("is its words, the line ends inside it kept", async () => {
    expect(await read_text_file(file("It rains.\nBoots – wet.\r\n\n"))).toBe("It rains.\nBoots – wet.");
  });

  it.each([
    ["empty", file(), "is empty"],
    ["blank", file(" \n\t\n"), "nothing but blanks"],
    ["a picture", file(new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0xff, 0xfe])), "is not text"],
    ["bytes of zero", file("a\0b"), "is not text"],
    ["characters that were lost before", file("a\ufffdb"), "is not text"],
    ["longer than the server takes", file("x".repeat(MAX_FILE_CHARS + 1)), "too long"],
  ])("is refused in one sentence where it is %s", async (_, chosen, words) => {
    expect(await problem(chosen)).toContain(words);
  });
});
