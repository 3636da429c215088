import { type Figure, findLayer, findSequence, findStack } from "./figure.js";
import { forgetFile, loadFile } from "./files.js";
import { inflate, Layer } from "./weights.js";

/** The decoded layers of one figure; each is fetched and inflated when first asked for. */
export class LayerStore {
  private readonly decoded = new Map<string, Layer>();
  private readonly pending = new Map<string, Promise<Layer>>();
  private readonly failed = new Set<string>();

  constructor(private readonly figure: Figure) {}

  peek(stack: string, layer: number): Layer | undefined {
    return this.decoded.get(`${stack}/${layer}`);
  }

  hasFailed(stack: string, layer: number): boolean {
    return this.failed.has(`${stack}/${layer}`);
  }

  /** Also tries again what has failed before. */
  load(stack: string, layer: number): Promise<Layer> {
    const key = `${stack}/${layer}`;
    const running = this.pending.get(key);
    if (running) return running;
    const started = this.decode(stack, layer);
    this.pending.set(key, started);
    this.failed.delete(key);
    started.then(
      (value) => this.decoded.set(key, value),
      () => {
        this.pending.delete(key);
        this.failed.add(key);
      },
    );
    return started;
  }

  private async decode(stackName: string, number: number): Promise<Layer> {
    const stack = findStack(this.figure, stackName);
    const { heads, data, file = "" } = findLayer(stack, number);
    const [rows, cols] = [stack.rows, stack.cols].map((name) => findSequence(this.figure, name).tokens.length);
    const base64 = data ?? (await loadFile(file));
    try {
      return new Layer(await inflate(base64), heads, cols as number, rows as number);
    } catch (error) {
      forgetFile(file);
      throw error;
    }
  }
}
