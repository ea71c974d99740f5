// Ask an exported model about raw pixels, with ONNX Runtime alone: ./onnx model.onnx a.ppm b.ppm
//
// A line a file: the file, its class, the probability, the status; or its name and why it was not read. Files
// are binary PPM, upright RGB of 8 bits: what makes them (djpeg cell.jpg > cell.ppm) decides what ../README.md tells.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

struct Image {
    int64_t width = 0, height = 0;
    std::vector<uint8_t> pixels;  // (height, width, 3)
};

Image read_ppm(const std::string &file) {
    std::ifstream in(file, std::ios::binary);
    std::string magic;
    std::array<int64_t, 3> numbers{};  // width, height, largest value
    in >> magic;
    for (auto &number : numbers) {
        while ((in >> std::ws).peek() == '#') in.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
        in >> number;
    }
    in.get();
    const auto [width, height, largest] = numbers;
    if (!in || magic != "P6" || largest != 255) throw std::runtime_error("expected a binary PPM of 8 bits (P6)");
    if (width < 1 || height < 1 || width > 25'000'000 / height) {
        throw std::runtime_error("expected 1 to 25,000,000 pixels, a cell's image");
    }
    Image image{width, height, std::vector<uint8_t>(static_cast<size_t>(width * height * 3))};
    in.read(reinterpret_cast<char *>(image.pixels.data()), static_cast<std::streamsize>(image.pixels.size()));
    if (!in) throw std::runtime_error("truncated");
    return image;
}

/// What the model's metadata says. `nullopt`, where it says null or nothing.
struct About {
    std::vector<std::string> classes;
    std::optional<double> unknown_above, review_below;
    double smallest_px = 0, largest_px = std::numeric_limits<double>::infinity();  // shorter sides trained on

    explicit About(const Ort::Session &session) {
        Ort::AllocatorWithDefaultOptions allocator;
        const auto metadata = session.GetModelMetadata();
        const auto told = [&](const char *name) {
            const auto text = metadata.LookupCustomMetadataMapAllocated(name, allocator);
            return std::string(text ? text.get() : "null");
        };
        const auto number = [&](const char *name) {
            const auto text = told(name);
            return text == "null" ? std::nullopt : std::optional(std::strtod(text.c_str(), nullptr));
        };
        classes = texts(told("classes"));
        unknown_above = number("unknown_above");
        review_below = number("review_below");
        std::sscanf(told("short_sides_px").c_str(), "[%lf, %lf]", &smallest_px, &largest_px);
    }

    /// The strings of a JSON list of strings.
    static std::vector<std::string> texts(const std::string &json) {
        std::vector<std::string> found;
        bool inside = false;
        for (size_t i = 0; i < json.size(); i++) {
            if (json[i] == '"') {
                if ((inside = !inside)) found.emplace_back();
            } else if (inside) {
                if (json[i] == '\\') i++;  // a quote or a backslash in a name
                found.back() += json[i];
            }
        }
        return found;
    }

    /// The bundle's own answer. Each comparison is made so that what is no number is not accepted.
    const char *judge(const Image &image, double probability, double distance) const {
        const auto side = static_cast<double>(std::min(image.height, image.width));
        if (unknown_above && !(distance <= *unknown_above)) return "unknown";
        if (!(smallest_px / 2 <= side && side <= 2 * largest_px)) return "review";  // perhaps not one cell
        return review_below && probability >= *review_below ? "accepted" : "review";
    }
};

int main(int argc, char **argv) try {
    if (argc < 3) {
        std::fprintf(stderr, "usage: %s model.onnx IMAGE.ppm ...\n", argv[0]);
        return 2;
    }
    Ort::Env env(ORT_LOGGING_LEVEL_ERROR);
    Ort::Session session(env, argv[1], Ort::SessionOptions{});  // on Windows a model's path is wchar_t
    const About about(session);
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const char *inputs[] = {"image"}, *outputs[] = {"probs", "pred", "distance"};
    int failed = 0;
    for (int i = 2; i < argc; i++) try {
        Image image = read_ppm(argv[i]);
        const std::array<int64_t, 4> shape{1, image.height, image.width, 3};
        const auto input = Ort::Value::CreateTensor<uint8_t>(
            memory, image.pixels.data(), image.pixels.size(), shape.data(), shape.size());
        const auto answers = session.Run(Ort::RunOptions{}, inputs, &input, 1, outputs, 3);
        const auto best = static_cast<size_t>(*answers[1].GetTensorData<int64_t>());
        const double probability = answers[0].GetTensorData<float>()[best];
        const char *status = about.judge(image, probability, *answers[2].GetTensorData<float>());
        std::printf("%s  %s  %.4f  %s\n", argv[i], about.classes.at(best).c_str(), probability, status);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s: %s\n", argv[i], error.what());
        failed = 1;
    }
    return failed;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
