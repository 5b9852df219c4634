// The table of tokens as Apache Parquet: the same columns with their types, the tokens as they are. The writer is
// fetched when somebody asks for it: few do, and the first load stays small.
import { Refusal } from "../../connection/requests";
import type { Column } from "./tokens_table";

const TITLE = "livelens tokens";

/** Rejects with Refusal where the writer cannot be fetched. */
export async function table_parquet(columns: readonly Column[]): Promise<ArrayBuffer> {
  const { parquetWriteBuffer } = await import("hyparquet-writer").catch(() => {
    throw new Refusal("no_writer", "The writer of Parquet files could not be had from the server: take CSV.");
  });
  return parquetWriteBuffer({
    columnData: columns.map(({ name, type, data }) => ({ name, type, data, nullable: true })),
    kvMetadata: [{ key: "title", value: TITLE }],
  });
}
