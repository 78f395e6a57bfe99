//! The overlay snapshotter: layers as lower directories, the upper directory becomes the layer.
