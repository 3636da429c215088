/** Written by `python tests/figure_types.py` from what `mkdocs_attnviz/views/` declares: do not edit. */

/** Deflated bytes: as base64, or as the file that holds them. */
export interface Blob {
  data?: string;
  file?: string;
  /** The index among the parts of the file; 0 if absent. */
  part?: number;
}

/** A model that a figure is drawn from. */
export interface ModelProvenance {
  /** The name that the author gives it. */
  name: string;
  /** The class of transformers that ran it, which names the task head: `BertForMaskedLM`. */
  architecture?: string;
  dtype?: string;
  /** The kind of device: `cpu`, `cuda`. */
  device?: string;
  /** The weights: `commit:MODEL@COMMIT` of a hub, or `sha256:DIGEST` of a directory or file. */
  identity?: string;
}

/** The origin of a figure, as far as its entry records it. */
export interface Provenance {
  models: ModelProvenance[];
  /** Citations of this package and, where their files have one, of the models. */
  cite: string[];
  /** The versions of packages; two if the compared models were run by different ones. */
  versions?: Record<string, string>[];
  /** The file of many texts that the figure is drawn from, and the digest of what was read of it. */
  corpus?: string;
  /** The precision of the stored numbers. */
  stored?: string;
}

/** A claim of the author's about the figure, tested when the page was built. */
export interface ClaimData {
  /** The claim in words: "In head 8 of layer 2, the weight from “the” to “cat” is at least 0.5". */
  text: string;
  holds: boolean;
  /** The true value: "0.75". */
  value: string;
}

/** The data that every figure has in its page; each view declares what it adds. */
export interface Figure {
  view: string;
  theme: "auto" | "light" | "dark";
  shipped?: string;
  /** One sentence that says what is to be seen: the figure's accessible name. */
  label: string;
  /** Model and text, shortened: "minilm: The cat sat on the mat". */
  source?: string;
  /** The state that the author chose to begin with, in the form of a link. */
  state?: string;
  /** The origin of the figure; the two figures within a compared one have none of their own. */
  provenance?: Provenance;
  /** The claims of the block key `expect`, in the block's order; absent if it has none. */
  claims?: ClaimData[];
}

/** A figure of a changed model, and of the model as it is. */
export interface ComparedFigure extends Figure {
  /** The change of the model, as it follows "the model": "without head 1 of layer 0". */
  interventions: string;
  of: Figure;
  before: Figure;
}

/** The tokens of a text that a model reads or writes. */
export interface TokenSequence {
  tokens: string[];
  special: number[];
  sentence_b_start: number | null;
  /** The number of the word that each token is a piece of; null for special tokens and where it is unknown. */
  words?: (number | null)[];
  /** The text of a word by its first token, where it is not that of its tokens one after another. */
  joined?: Record<number, string>;
  /** The token that a decoder is to produce at each of its tokens. */
  next?: string[];
}

/** A figure that shows tokens. */
export interface TextFigure extends Figure {
  sequences: Record<string, TokenSequence>;
}

/** A layer's feed-forward neurons. */
export interface LayerOfNeurons {
  stack: string;
  layer: number;
  neurons: number;
  kept: number;
  /** The name of its tokens among the sequences. */
  sequence: string;
  /** Scaled, (kept, T). */
  values: Blob;
  lists: Blob;
}

/** The part of the figure's state that a reader chooses. */
export interface ActivationsState {
  stack: string;
  layer: number;
  order: "cluster" | "strength" | "number";
  /** The token that is held, and maybe a neuron. */
  token: number | null;
  neuron: number | null;
}

/** A layer's neurons, and how active each is at each token. */
export interface ActivationsFigure extends TextFigure {
  layers: LayerOfNeurons[];
  initial: ActivationsState;
}

/** The units of one part of a layer that are kept. */
export interface UnitsOfPart {
  kept: number;
  /** Signed bytes, (kept, T). */
  values: Blob;
  /** JSON: the numbers of the units, and with `find` their correlations on the first half and the second. */
  units: Blob;
}

/** A layer whose units are shown. */
export interface CellLayer {
  layer: number;
  /** Its name in words, if it is more than the number. */
  name: string;
  units: number;
  parts: Record<string, UnitsOfPart>;
}

/** The results of the same search for the mask shifted along the text. */
export interface Shifted {
  count: number;
  best: number;
  median: number;
}

/** The unit that follows `find` best, among all units of a part. */
export interface Found {
  looked_at: number;
  layer: number;
  unit: number;
  /** Its correlation on the first half of the text, by which it was chosen. */
  chosen: number;
  /** Its correlation on the second half. */
  told: number;
  shifted: Shifted;
}

/** The part of the figure's state that a reader chooses. */
export interface CellsState {
  show: "text" | "saturation";
  part: string;
  layer: number;
  /** The units that are shown: the first colours the text. Empty for the first that is kept. */
  units: number[];
  token: number | null;
}

/** Running text, and how active units are at each of its tokens. */
export interface CellsFigure extends Figure {
  /** JSON: the text, and where each token ends in UTF-16 units, or null if each token is one. */
  text: Blob;
  parts: string[];
  layers: CellLayer[];
  /** A description of the thing that was looked for, in words. */
  find?: string;
  search?: Record<string, Found>;
  /** Signed bytes, (1, T): what was looked for at each token. */
  mask?: Blob;
  /** JSON: by layer and gate, for each unit the fractions of tokens at which it is left- and right-saturated. */
  saturation?: Blob;
  initial: CellsState;
}

/** One mixture of experts, and the choices of its router. */
export interface MixtureData {
  stack: string;
  part: "feed_forward" | "attention";
  layer: number;
  experts: number;
  top_k: number;
  /** The largest weight. */
  scale: number;
  /** The number of experts of each token whose probabilities are stored; 0 if the router's distribution is unknown. */
  stored: number;
  /** The number of tokens that each expert got. */
  load: number[];
  choices: Blob;
  router?: Blob;
}

/** The part of the figure's state that a reader chooses. */
export interface ExpertsState {
  show: "grid" | "text" | "load";
  stack: string;
  part: "feed_forward" | "attention";
  layer: number;
  /** The expert whose tokens alone are coloured. */
  expert: number | null;
  /** The token that is held. */
  token: number | null;
}

/** Tokens × layers: the experts that the routers chose. */
export interface ExpertsFigure extends TextFigure {
  /** JSON, by sequence: the text, and where each token ends in UTF-16 units, or null if each token is one. */
  texts: Record<string, Blob>;
  mixtures: MixtureData[];
  notes: string[];
  initial: ExpertsState;
}

/** One mixture of experts, and what its router did over the corpus. */
export interface LoadData {
  stack: string;
  part: "feed_forward" | "attention";
  layer: number;
  experts: number;
  top_k: number;
  /** The number of tokens that are counted. */
  tokens: number;
  /** The mean entropy of the router's distribution, in bits; null if the distribution is unknown. */
  entropy: number | null;
}

/** The part of the figure's state that a reader chooses. */
export interface LoadsState {
  show: "load" | "tokens";
  stack: string;
  part: "feed_forward" | "attention";
  /** The layer whose experts' tokens are shown. */
  layer: number;
  /** The expert that alone is in full colour. */
  expert: number | null;
}

/** The load of experts over a corpus. */
export interface LoadsFigure extends Figure {
  mixtures: LoadData[];
  /** JSON: `vocabulary`, by stack the texts of tokens and how often each occurs; and `mixtures`, of each in their order the number of tokens that each expert got (`counts`), the mean `probabilities` or null, and for each expert its `tokens`: pairs of a place in the vocabulary and how often the token went there. */
  loads: Blob;
  texts: number;
  notes: string[];
  initial: LoadsState;
}

/** A stretch of a sequence, as it is read. */
export interface Stretch {
  name: string;
  heading: string;
  start: number;
  end: number;
  /** The position in the model of the first token, where the figure counts its own. */
  offset?: number;
}

/** A description of the neurons that were factorised. */
export interface AboutFactors {
  stack: string;
  layers: number[];
  neurons: number;
  explained: number;
}

/** The part of the figure's state that a reader chooses. */
export interface FactorsState {
  /** The factor that is shown alone, counted from 0. */
  factor: number | null;
  /** The token that is held. */
  selected: number | null;
}

/** Groups of neurons, and where each is active. */
export interface FactorsFigure extends TextFigure {
  /** Stretches of what the neurons' layers read, text by text. */
  texts: Stretch[];
  about: AboutFactors;
  count: number;
  factors: Blob;
  initial: FactorsState;
}

/** A term of the scores, scaled, (heads, rows · cols). */
export interface Term extends Blob {
  name: string;
}

/** Queries (heads · d, rows) and keys (kv_heads · d, cols), both scaled, and what else enters the scores. */
export interface Neurons {
  d: number;
  kv_heads: number;
  scale: number;
  q: Blob;
  k: Blob;
  terms: Term[];
}

/** The weights of some heads of a layer, or the strongest weights of all of them. */
export interface LayerPart extends Blob {
  /** The heads, in their order; absent if all of them are in it. */
  heads?: number[];
  /** The number of weights of each row, coded as `models/reduction.py` says; absent if all are in it. */
  count?: number;
}

/** The lines of the first picture, deflated: a count as uint32, that many offsets as uint32, that many bytes. */
export interface Preview extends Blob {
  /** The share of the weight in view that they hold. */
  share: number;
}

/** The blob of a layer's weights, and those that belong to it. */
export interface LayerSource extends Blob {
  layer: number;
  heads: number;
  /** The number of heads of keys and values, if heads share them: successive heads have the same. */
  kv_heads?: number;
  /** Scaled, (heads, cols): the norm of what a token's value adds through a head (Kobayashi et al. 2020). */
  values?: Blob;
  /** Weights of one head: attention rollout up to this layer. */
  rollout?: Blob;
  neurons?: Neurons;
  /** The number of the layer's mask among those of its stack; absent if it is no more than causal. */
  mask?: number;
  /** The weights in place of the blob, where not all of them are shipped; a head may be in several. */
  parts?: LayerPart[];
  /** The share of each head's weight that is shipped; 0 if the head is not. */
  kept?: number[];
  /** The lines of the first picture of a layer that is in a file. */
  preview?: Preview;
}

/** The attention of one set of layers: tokens of `rows` attend to tokens of `cols`. */
export interface Stack {
  rows: string;
  cols: string;
  /** True if no token can attend to a later one. */
  causal?: boolean;
  layers: LayerSource[];
  /** The columns that are attention sinks; in views that can leave them out. */
  sink?: number[];
  /** The masks that are more than causal, as runs of columns (`models/mask_runs.py`), in views that shade them. */
  masks?: Blob[];
  /** The largest weights of every head on a coarse grid. */
  overview?: Blob;
  /** The pattern of each head, nine bytes a head (`views/attention/patterns.py`). */
  patterns?: Blob;
}

/** One head. */
export interface HeadOfLayer {
  layer: number;
  head: number;
}

/** The first state, and what the author has fixed. */
export interface FirstState {
  stack: string;
  layer: number;
  heads: number[];
  include_heads: number[] | null;
  filter: "all" | "aa" | "ab" | "ba" | "bb";
  /** This and what follows: of views in which a reader may look at weights in more than one way. */
  across_layers?: "mean" | "max" | "rollout" | null;
  across_heads?: "mean" | "max" | null;
  value_weighted?: boolean;
  merge_words?: boolean;
  /** Shown, or left out. */
  special_tokens?: boolean;
  sink?: "show" | "fade" | "leave_out";
  contrast?: number;
  /** The least weight that is drawn. Of this and `mass` at most one is set. */
  min_weight?: number | null;
  /** The share that the strongest weights of each row together hold. */
  mass?: number | null;
  /** Model view: the cell whose detail is open. */
  open?: HeadOfLayer | null;
  /** Model view: heads in rows of layers, or in groups by their patterns. */
  order?: "layer" | "pattern";
  /** Matrix: all cells in the width there is, or cells large enough to read. */
  zoom?: "fit" | "cells";
  /** Neuron: the token whose weights are taken apart at first. */
  expanded?: number | null;
}

/** The data of a view of attention in `data-figure`. */
export interface AttentionFigure extends TextFigure {
  stacks: Record<string, Stack>;
  options: FirstState;
}

/** The heads of one stack. */
export interface HeadsStack {
  layers: number[];
  /** The number of heads of each layer. */
  heads: number[];
  /** The number of heads of keys of each layer, if heads share them: successive heads have the same. */
  kv_heads?: number[];
  rows: string;
  cols: string;
  /** The weights of each layer's most telling texts, stored as weights are: of each head its texts, (cols, rows). */
  telling: Blob[];
}

/** The part of the figure's state that a reader chooses. */
export interface HeadsState {
  stack: string;
  show: "scatter" | "map" | "grid" | "table" | "relations";
  x: string;
  y: string;
  color: string;
  sort: string | null;
  ascending: boolean;
  /** The layer of the head that is held. */
  layer: number | null;
  head: number | null;
  /** The index of the shown text among the most telling ones of the head. */
  text: number;
}

/** The data of an index of all heads. */
export interface HeadsFigure extends Figure {
  stacks: Record<string, HeadsStack>;
  /** JSON: the measures of each stack, and the texts that are shown. */
  index: Blob;
  notes: string;
  initial: HeadsState;
}

/** The part of the figure's state that a reader chooses. */
export interface LensState {
  show: "probability" | "rank" | "entropy" | "kl";
  cells: "top" | "actual" | "watch";
  watched: number;
  /** The layer of the cell that is held; −1 is the embeddings. */
  layer: number | null;
  position: number | null;
}

/** Layers × positions: what the model would say if a layer were its last. */
export interface LensFigure extends TextFigure {
  /** The sequence whose positions are the columns. */
  read: string;
  /** The token that follows each position; null where positions say what stands there. */
  expected: (string | null)[] | null;
  layers: number;
  vocabulary: number;
  watch: string[];
  /** True if the final norm is left out. */
  raw: boolean;
  top_k: number;
  lens: Blob;
  initial: LensState;
}

/** A layer, with the number of its mask. */
export interface MaskLayer {
  layer: number;
  mask: number;
  /** The name of its attention module in the model. */
  name?: string;
  /** The number of tokens of its window by the model's configuration, if that is longer than the text. */
  window?: number;
  heads_differ?: boolean;
}

/** A mask that one or more layers have, as runs of columns (`models/mask_runs.py`). */
export interface MaskData extends Blob {
  /** The kind of the mask in words: "sliding window of 4 tokens". */
  words: string;
  /** The number of allowed pairs. */
  pairs: number;
}

/** The masks of one stack: tokens of `rows` attend to tokens of `cols`. */
export interface MaskStackData {
  rows: string;
  cols: string;
  /** The source of the masks: the model's own, weights that are not zero, or gradients. */
  how: "masks" | "weights" | "gradients";
  layers: MaskLayer[];
  masks: MaskData[];
  /** The layers of each mask with its kind: "layers 0–4: sliding window of 4 tokens". */
  groups: string[];
}

/** The part of the figure's state that a reader chooses. */
export interface MaskState {
  stack: string;
  layer: number;
  /** The row of the cell that is held. */
  row: number | null;
  col: number | null;
}

/** The masks of a model on a text, by stack and layer. */
export interface MaskFigure extends TextFigure {
  masks: Record<string, MaskStackData>;
  initial: MaskState;
}

/** The part of the figure's state that a reader chooses. */
export interface PredictState {
  /** The place of the token that is predicted; for what follows the text, its length. */
  position: number;
}

/** The data of the tokens that a model held likely in one place. */
export interface PredictFigure extends TextFigure {
  task: "next" | "target" | "masked" | "classes" | "labels" | "answer";
  texts: Stretch[];
  /** The sequence that the predictions are of. */
  predicted: string;
  /** The places in it that are predicted. */
  positions: number[];
  predictions: Blob;
  initial: PredictState;
}

/** A token that the model produced, and what was attributed. */
export interface Output {
  /** The sequence, among those that are shown, in which it stands. */
  name: string;
  index: number;
  position: number;
  token: string;
  probability: number;
  value: number;
  baseline: number | null;
  delta: number | null;
}

/** The method by which the attributions were computed, with its parameters. */
export interface Method {
  method: string;
  norm: "sum" | "l2";
  explain: string;
  contrast: string | null;
  /** The token that is explained, if the author named it. */
  token?: string;
  target?: string[];
  steps?: number;
  seed?: number;
  baseline?: string;
  layer?: number;
  window?: number;
}

/** The part of the figure's state that a reader chooses. */
export interface SaliencyState {
  style: "background" | "bars";
  /** The output that is held; null: the one that is pointed at. */
  selected: number | null;
}

/** A text's tokens, each with what it adds to an output. */
export interface SaliencyFigure extends TextFigure {
  /** The parts of the texts in reading order: the input of the model, and its output. */
  texts: Stretch[];
  outputs: Output[];
  /** Inputs that have no part in the scale. */
  ignored: number[];
  /** Scaled, (outputs, inputs); the inputs are all tokens of the text, then those of the target. */
  attributions: Blob;
  method: Method;
  initial: SaliencyState;
}

/** The output that all methods are asked about. */
export interface Explained {
  token: string;
  probability: number;
  position: number;
  explain: string;
  contrast: string | null;
}

/** One method, with its parameters, and what it says of the output as a whole. */
export interface Strip {
  method: string;
  /** `sum` has a sign; `l2` is a length, `weight` is attention. */
  norm: "sum" | "l2" | "weight";
  /** The number of tokens that have a number; they come before those that have none. */
  known: number;
  steps?: number;
  seed?: number;
  from_baseline?: string;
  layer?: number;
  window?: number;
  /** The score that is explained. */
  value?: number;
  baseline?: number;
  /** The completeness error: the sum of the strip less the difference of the score from that of the baseline. */
  delta?: number;
  /** The positions whose attention is shown: those that the output is predicted from. */
  rows?: number[];
}

/** Groups of consecutive tokens. */
export interface Groups {
  /** The first token of each group; a group ends where the next one begins. */
  starts: number[];
  /** The texts of groups of several tokens, by the group's number; long ones lack their middle. */
  texts: Record<number, string>;
  /** The groups that the author has marked, by number; with sentences and words there are none. */
  marked: number[];
}

/** The effect of taking tokens out, or putting them back, in the order of one strip. */
export interface Faithfulness {
  /** The output's probability at each of `counts`. */
  deletion: number[];
  insertion: number[];
  deletion_area: number;
  insertion_area: number;
  comprehensiveness: number;
  sufficiency: number;
}

/** Numbers of a curve over random orders. */
export interface Spreads {
  mean: number[];
  sd: number[];
}

/** A number over random orders. */
export interface Spread {
  mean: number;
  sd: number;
}

/** The same for random orders. */
export interface RandomOrders {
  deletion: Spreads;
  insertion: Spreads;
  deletion_area: Spread;
  insertion_area: Spread;
  comprehensiveness: Spread;
  sufficiency: Spread;
}

/** The substitute for a token that is taken out. */
export interface Replacement {
  kind: "mask" | "pad" | "unk" | "remove";
  token: string | null;
}

/** The probability of the output of texts without some of the compared tokens. */
export interface Curves {
  /** The number of tokens that are taken out, or put back, at each point of a curve. */
  counts: number[];
  full: number;
  empty: number;
  methods: Faithfulness[];
  random: RandomOrders;
  orders: number;
  seed: number;
  replacement: Replacement;
}

/** The part of the figure's state that a reader chooses. */
export interface MethodsState {
  by: "token" | "word" | "sentence" | "span";
  compare: "agreement" | "top_k" | "deletion" | "insertion" | "nothing";
  /** The token, or group of tokens, that is held. */
  selected: number | null;
}

/** Several methods that say which tokens led to one output. */
export interface MethodsFigure extends TextFigure {
  output: Explained;
  methods: Strip[];
  /** Scaled, (methods, inputs); the inputs are all tokens of the text, then those of the target. */
  attributions: Blob;
  groups: Record<"word" | "sentence" | "span", Groups>;
  /** Inputs that have no part in the scale. */
  ignored: number[];
  /** The inputs that agreement and curves are about. */
  compared: number[];
  /** The numbers of the compared inputs, counted from 0, in the order of each strip: the largest value first. */
  orders: number[][];
  /** Kendall's τ-b of each pair of strips; null if it is not defined. */
  agreement: (number | null)[][];
  top_k: number;
  curves: Curves;
  initial: MethodsState;
}

/** A description of the layers of one stack that are compared. */
export interface Similar {
  /** The number of layers; the embeddings count as one. */
  layers: number;
  tokens: number;
  width: number;
  /** Scaled, (layers, layers or columns): rows compared with columns. */
  measures: Record<"cka" | "cca" | "svcca" | "pwcca", Blob>;
  other_stack?: string;
  /** The other model's layers, where there are two. */
  columns?: number;
  other_width?: number;
  /** The unit of the samples over which two models are compared, in a word. */
  unit?: string;
}

/** The part of the figure's state that a reader chooses. */
export interface SimilarityState {
  stack: string;
  measure: "cka" | "cca" | "svcca" | "pwcca";
  /** The row of the cell that is held; the embeddings are 0. */
  row: number | null;
  col: number | null;
}

/** The data of a comparison of layers over the tokens of a text. */
export interface SimilarityFigure extends Figure {
  similar: Record<string, Similar>;
  /** The rows' and the columns', where they are two. */
  models?: [string, string];
  initial: SimilarityState;
}

/** One sublayer. */
export interface SublayerData {
  kind: "s" | "f" | "c" | "m" | "e" | "o";
  layer: number | null;
  /** The names of its modules in the model, those with most parameters first. */
  names: string[];
  parameters: number;
  /** True if an earlier sublayer has the same weights. */
  shared: boolean;
  /** The change of the loss without it, in nats for a token. */
  zero?: number;
}

/** Sublayers that stand side by side. */
export interface UnitData {
  sublayers: SublayerData[];
  /** The change of the loss if it changes places with the next unit; null if the two cannot. */
  swap?: number | null;
}

/** The sublayers of a model, of one of its stacks, or of an order that an author has written down. */
export interface StripData {
  name: string;
  units: UnitData[];
  /** The losses of models that were trained with this order. */
  losses?: number[];
}

/** The loss of the unchanged model. */
export interface LossData {
  /** Nats for a token. */
  value: number;
  tokens: number;
  task: "next" | "masked" | "target";
  /** The number of texts of a corpus that were read. */
  texts?: number;
  /** The number of texts that the model could not read. */
  left_out_count?: number;
}

/** The part of the figure's state that a reader chooses. */
export interface SublayersState {
  /** The sublayer that is held, counted over all strips. */
  selected: number | null;
  change: "zero" | "swap";
}

/** Strips of sublayers. */
export interface SublayersFigure extends Figure {
  strips: StripData[];
  /** True if parameters are in units of d², since there is no model. */
  symbolic: boolean;
  loss: LossData | null;
  loss_label: string;
  changes: ("zero" | "swap")[];
  notes: string[];
  initial: SublayersState;
}

/** A part of the text, such as the turn of a speaker. */
export interface TextSection {
  /** The name that stands before it; empty if it is the only one. */
  label: string;
  /** The number of its first mark. */
  start: number;
}

/** Marks from `start` to below `end`. */
export interface TextMarks {
  start: number;
  end: number;
}

/** The strongest weights of one head, or of several combined. */
export interface TextMatrix {
  /** Null if layers are combined. */
  layer: number | null;
  /** Null if heads are combined. */
  head: number | null;
  /** The largest as float32, then uint16 a column: the mean weight that it gets, round(65535·√(mean / largest)). */
  received: Blob;
  /** The rows, as `models/captures/strongest_weights.py` writes them. */
  files: Blob[];
}

/** The part of the figure's state that a reader chooses. */
export interface TextViewState {
  layer: number | null;
  head: number | null;
  direction: "to" | "from";
  /** The token that is held, counted through all that is shown. */
  token: number | null;
  sink: "show" | "fade" | "leave_out";
}

/** A text, and what each of its tokens attends to. */
export interface TextViewFigure extends Figure {
  /** JSON: the `texts` of marks, and the `gaps` before them. */
  text: Blob;
  sections: TextSection[];
  /** Marks that are special tokens. */
  special: number[];
  /** Marks that have no part in the scale of colours. */
  ignored: number[];
  /** The number of each mark's first token, or null if each token is a mark. */
  first: number[] | null;
  /** The marks that attend. */
  rows: TextMarks;
  /** The marks that are attended to. */
  cols: TextMarks;
  /** The marks that are explained, row by row, where the weights are attributions. */
  outputs?: number[];
  rows_in_file: number;
  top_k: number;
  /** The way in which heads and layers are combined, in words; empty if they are not. */
  combined: string;
  /** The name of the weights: attention, decoder attention, attribution. */
  kind: string;
  /** True if a part of the attention goes to no token. */
  sink: boolean;
  /** The marks that are attention sinks; none for a learned sink. Absent if nothing can be left out. */
  sinks?: number[];
  /** The texts of these marks, each of them once, and no more than four. */
  sink_texts?: string[];
  matrices: TextMatrix[];
  initial: TextViewState;
}

/** The part of the figure's state that a reader chooses. */
export interface TokensState {
  shade: "probability" | "rank" | "none";
  /** The token that is held; counted through all that is shown. */
  selected: number | null;
}

/** A text's tokens, each with what the model held likely in its place. */
export interface TokensFigure extends TextFigure {
  /** The parts of the texts in reading order: the input of the model, and the output it is to produce. */
  texts: Stretch[];
  /** The sequence that the predictions are of. */
  predicted: string;
  predictions: Blob;
  initial: TokensState;
}
