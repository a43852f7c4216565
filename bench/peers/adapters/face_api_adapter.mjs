// /// script
// dependencies = ["@vladmandic/face-api@1.7.15", "@tensorflow/tfjs@4.22.0", "@tensorflow/tfjs-backend-wasm@4.22.0"]
//
// [tool.peer]
// package = "@vladmandic/face-api"
// licence = "MIT"
// detectors = { "SSD MobileNet" = "SSD MobileNet", "tiny" = "Tiny YOLO" }
// classifiers = ["WebAssembly"]
// ///
// face-api under node, by TensorFlow.js and WebAssembly: the native library of its other backend
// is fetched from elsewhere by a script of its package.
import { createRequire } from 'node:module';
import path from 'node:path';
import { serve } from './protocol.mjs';

const require = createRequire(import.meta.url);
const root = (name) => path.dirname(require.resolve(`${name}/package.json`));

async function library() {
  const wasm = require('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(path.join(root('@tensorflow/tfjs-backend-wasm'), 'dist', '/'));
  wasm.setThreadsCount(1);
  const faceapi = require('@vladmandic/face-api/dist/face-api.node-wasm.js');
  await faceapi.tf.setBackend('wasm');
  await faceapi.tf.ready();
  return faceapi;
}

const models = () => path.join(root('@vladmandic/face-api'), 'model');

async function detector(variant) {
  const faceapi = await library();
  const tiny = variant === 'tiny';
  await faceapi.nets[tiny ? 'tinyFaceDetector' : 'ssdMobilenetv1'].loadFromDisk(models());
  const options = tiny ? new faceapi.TinyFaceDetectorOptions() : new faceapi.SsdMobilenetv1Options();
  return async ({ shape, data }) => {
    const rgb = new Int32Array(data.length);
    for (let i = 0; i < data.length; i += 3) {
      rgb[i] = data[i + 2];
      rgb[i + 1] = data[i + 1];
      rgb[i + 2] = data[i];
    }
    const input = faceapi.tf.tensor3d(rgb, shape, 'int32');
    const found = await faceapi.detectAllFaces(input, options);
    input.dispose();
    return found.map(({ box, score }) => [box.x, box.y, box.width, box.height, score]);
  };
}

async function classifier() {
  const faceapi = await library();
  await faceapi.nets.faceExpressionNet.loadFromDisk(models());
  const labels = ['neutral', 'happy', 'sad', 'angry', 'fearful', 'disgusted', 'surprised'];
  const classify = async (face) => {
    const rgb = new Float32Array(3 * face.length);
    for (let i = 0; i < face.length; i += 1) rgb.fill(face[i], 3 * i, 3 * i + 3);
    const side = Math.sqrt(face.length);
    const input = faceapi.tf.tensor3d(rgb, [side, side, 3]);
    const found = await faceapi.nets.faceExpressionNet.predictExpressions(input);
    input.dispose();
    return labels.map((label) => found[label]);
  };
  return { labels, classify };
}

await serve({ detector, classifier });
