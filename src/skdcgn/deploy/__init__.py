"""Taking a CGN elsewhere: files of counterfactuals, ONNX, timings of every form."""
