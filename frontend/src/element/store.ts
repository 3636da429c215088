import { decodeBase64, inflate } from "../lib/packed.js";
import type { Blob } from "./figure.js";
import { forgetFile, loadFile } from "./files.js";

/** A function that turns a blob's bytes into what a view reads. It throws if they do not fit. */
export interface Decode<T> {
  (bytes: Uint8Array): T;
  /** The largest number of inflated bytes, where that is known. */
  most?: number;
}

/** The decoded blobs of one figure; each is fetched and inflated when first asked for. */
export class Store {
  private readonly decoded = new Map<Blob, unknown>();
  private readonly pending = new Map<Blob, Promise<unknown>>();
  private readonly failed = new Set<Blob>();

  peek<T>(blob: Blob): T | undefined {
    return this.decoded.get(blob) as T | undefined;
  }

  hasFailed(blob: Blob): boolean {
    return this.failed.has(blob);
  }

  /** Return the number of blobs asked for, once each of them has come or failed. */
  async settled(): Promise<number> {
    return (await Promise.allSettled(this.pending.values())).length;
  }

  /** Return a decoded blob. One that has failed before is tried again. */
  load<T>(blob: Blob, decode: Decode<T>): Promise<T> {
    const running = this.pending.get(blob);
    if (running) return running as Promise<T>;
    const started = this.read(blob, decode);
    this.pending.set(blob, started);
    this.failed.delete(blob);
    started.then(
      (value) => this.decoded.set(blob, value),
      () => {
        this.pending.delete(blob);
        this.failed.add(blob);
      },
    );
    return started;
  }

  private async read<T>({ data, file = "", part = 0 }: Blob, decode: Decode<T>): Promise<T> {
    const parts = data === undefined && (await loadFile(file));
    try {
      const deflated = parts ? parts[part] : decodeBase64(data as string);
      return decode(await inflate(deflated ?? new Uint8Array(), decode.most));
    } catch (error) {
      forgetFile(file);
      throw error;
    }
  }
}
