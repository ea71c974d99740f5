// Ask an exported model about image files, without Python: node onnx.mjs model.onnx a.jpg b.png
//
// A line a file: the file, its class, the probability, the status; or its name and why it was not read.

import { readFile } from "node:fs/promises";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { decode } from "./decode.mjs";

const NARROW = "16-bit-narrow";

/** Yield the fields of a protobuf message: its number and its bytes, where it has bytes. */
function* fields(message) {
  let at = 0;
  const number = () => {
    let [value, scale, byte] = [0, 1, 0];
    do {
      byte = message[at++];
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte > 127);
    return value;
  };
  while (at < message.length) {
    const tag = number();
    const size = { 0: number, 1: () => 8, 2: number, 5: () => 4 }[tag & 7]();
    if ((tag & 7) === 0) continue;
    yield [Math.floor(tag / 8), message.subarray(at, at + size)];
    at += size;
  }
}

/** Return the metadata of an ONNX file, field 14 of it, which onnxruntime does not hand to JavaScript. */
function metadata(model) {
  const entries = [...fields(model)].filter(([field]) => field === 14).map(([, entry]) => [...fields(entry)]);
  return Object.fromEntries(entries.map((entry) => entry.map(([, text]) => text.toString())));
}

/** Return the bundle's own answer. Each comparison is made so that what is no number is not accepted. */
function judge(about, image, probability, distance) {
  const told = (name) => JSON.parse(about[name] ?? "null");
  const [unknownAbove, reviewBelow] = [told("unknown_above"), told("review_below")];
  const [smallest, largest] = told("short_sides_px") ?? [0, Infinity];
  const side = Math.min(image.height, image.width);
  if (unknownAbove !== null && !(distance <= unknownAbove)) return "unknown";
  if (!(smallest / 2 <= side && side <= 2 * largest)) return "review"; // perhaps not one cell
  if (image.narrow && !(told("converted") ?? []).includes(NARROW)) return "review"; // perhaps fewer bits
  return reviewBelow === null || !(probability >= reviewBelow) ? "review" : "accepted";
}

const [model, ...files] = process.argv.slice(2);
if (files.length === 0) {
  console.error("usage: node onnx.mjs model.onnx IMAGE ...");
  process.exit(2);
}
const about = metadata(await readFile(model));
const classes = JSON.parse(about.classes);
const session = await InferenceSession.create(model);
for (const file of files) {
  try {
    const image = await decode(file);
    const input = new Tensor("uint8", image.pixels, [1, image.height, image.width, 3]);
    const { probs, pred, distance } = await session.run({ image: input });
    const best = Number(pred.data[0]); // int64
    const probability = probs.data[best];
    const status = judge(about, image, probability, distance.data[0]);
    console.log(`${file}  ${classes[best]}  ${probability.toFixed(4)}  ${status}`);
  } catch (error) {
    console.error(`${file}: ${error.message}`);
    process.exitCode = 1;
  }
}
