// What becomes of an image file before a model sees it: upright 8-bit RGB, or a reason why not.
//
// The same bytes give the same pixels as in Python, or are refused. ../README.md has the rules.

import { readFile } from "node:fs/promises";
import sharp from "sharp";

const MAX_PIXELS = 25_000_000;

/** Return an image file as upright 8-bit RGB, as the Python package decodes it, or throw a reason. */
export async function decode(file) {
  const bytes = await readFile(file);
  const image = sharp(bytes, { ignoreIcc: true, limitInputPixels: MAX_PIXELS });
  const about = await image.metadata();
  const deep = about.depth === "ushort";
  if (!["jpeg", "png"].includes(about.format)) throw Error(`a ${about.format}; expected a JPEG or a PNG`);
  if (about.space === "cmyk") throw Error("a JPEG of four inks; expected grey or RGB. Convert it first");
  if (deep && about.hasAlpha) throw Error("16 bits with transparency; save it with 8 bits or without");
  if (!about.orientation && isTurnedByText(bytes, about)) {
    throw Error("it says in a text which side is up, which is not read here; save it upright");
  }
  image.autoOrient();
  if (deep) image.toColourspace(about.channels === 1 ? "grey16" : "rgb16");
  const options = { resolveWithObject: true };
  const { data, info } = await image.raw({ depth: deep ? "ushort" : "uchar" }).toBuffer(options);
  const values = deep ? new Uint16Array(data.buffer, data.byteOffset, data.length / 2) : data;
  const pixels = toRGB(values, info.channels, deep ? toByte(info.channels) : (value) => value);
  return { pixels, height: info.height, width: info.width, narrow: deep && isNarrow(pixels) };
}

/** Whether a file without an orientation in EXIF may have one in XMP, or in a PNG's text. */
function isTurnedByText(bytes, about) {
  const texts = ["Raw profile type exif\0", "Raw profile type APP1\0"];
  return (about.xmp ?? "").includes("tiff:Orientation") || texts.some((text) => bytes.includes(text));
}

/** Return how 16 bits become 8: of grey the nearest level, of colour the upper byte. */
function toByte(channels) {
  return channels === 1 ? (value) => Math.round(value / 257) : (value) => value >> 8;
}

/** Return RGB of grey, grey with alpha, RGB, or RGBA. What is transparent lies on white, unless all of it is. */
function toRGB(values, channels, byte) {
  const count = values.length / channels;
  const alpha = channels % 2 === 0 ? channels - 1 : null;
  const isSeen = alpha !== null && values.some((value, at) => at % channels === alpha && value > 0);
  const pixels = new Uint8Array(count * 3);
  for (let i = 0; i < count; i++) {
    const opaque = isSeen ? values[i * channels + alpha] : 255;
    for (let c = 0; c < 3; c++) {
      const value = byte(values[i * channels + (channels < 3 ? 0 : c)]);
      pixels[i * 3 + c] = Math.round((value * opaque + 255 * (255 - opaque)) / 255);
    }
  }
  return pixels;
}

/** Whether all values lie within a quarter of the range, as where 12 bits are kept in 16. */
function isNarrow(pixels) {
  let [low, high] = [255, 0];
  for (const value of pixels) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return high - low <= 64;
}
