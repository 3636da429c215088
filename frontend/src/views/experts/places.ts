import { nothing } from "lit";
import { choice } from "../../controls/choice.js";
import { oneOf, position } from "../../lib/checks.js";

/** Where a router is. */
export interface Place {
  stack: string;
  part: "feed_forward" | "attention";
  layer: number;
}

type Mixture = Place & { experts: number };

const STACKS: Record<string, string> = { self: "all layers", encoder: "encoder", decoder: "decoder" };
const PARTS = { feed_forward: "feed-forward", attention: "attention" } as const;

const stacksOf = (mixtures: Mixture[]): string[] => [...new Set(mixtures.map(({ stack }) => stack))];

const partsOf = (mixtures: Mixture[], within: string): Place["part"][] => [
  ...new Set(mixtures.filter(({ stack }) => stack === within).map(({ part }) => part)),
];

/** Return the mixtures of a stack and a part, the last layer first. */
export function groupOf<M extends Mixture>(mixtures: M[], { stack, part }: Omit<Place, "layer">): M[] {
  return mixtures
    .filter((each) => each.stack === stack && each.part === part)
    .sort((one, other) => other.layer - one.layer);
}

/** Check a place and an expert; throw a RangeError that names the bad value. */
export function checkPlace(mixtures: Mixture[], place: Place, expert: number | null): void {
  oneOf("stack", place.stack, stacksOf(mixtures));
  oneOf("part", place.part, partsOf(mixtures, place.stack));
  const group = groupOf(mixtures, place);
  oneOf(
    "layer",
    place.layer,
    group.map(({ layer }) => layer),
  );
  position("expert", expert, Math.max(...group.map(({ experts }) => experts)));
}

/** Return the words that tell which stack and part are in view, where there are several. */
export function whoseOf(mixtures: Mixture[], { stack, part }: Place): string {
  return [
    stacksOf(mixtures).length > 1 ? ` of the ${stack}` : "",
    partsOf(mixtures, stack).length > 1 ? ` of ${PARTS[part]}` : "",
  ].join("");
}

/** Return the controls of stack and part, where there are several. `turnTo` gets the last layer of the new ones. */
export function placeControls(mixtures: Mixture[], { stack, part }: Place, turnTo: (place: Place) => void): unknown {
  const [stacks, parts] = [stacksOf(mixtures), partsOf(mixtures, stack)];
  const turn = (stack: string, part: Place["part"]) =>
    turnTo({ stack, part, layer: groupOf(mixtures, { stack, part })[0]?.layer ?? 0 });
  return [
    stacks.length > 1
      ? choice(
          "Layers of",
          stack,
          stacks.map((each) => [each, STACKS[each] ?? each] as const),
          (each) => turn(each, partsOf(mixtures, each)[0] as Place["part"]),
        )
      : nothing,
    parts.length > 1
      ? choice(
          "Part",
          part,
          parts.map((each) => [each, PARTS[each]] as const),
          (each) => turn(stack, each),
        )
      : nothing,
  ];
}

/** Return the control of the expert that is shown alone. */
export function expertControl(
  experts: number,
  expert: number | null,
  choose: (expert: number | null) => void,
): unknown {
  const numbers = Array.from({ length: experts }, (_, each) => [each, String(each)] as const);
  return choice("Expert", expert ?? -1, [[-1, "all"] as const, ...numbers], (each) => choose(each < 0 ? null : each));
}
