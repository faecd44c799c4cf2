"""The reader of pictures: every mode against a value computed without it; damage in one line, sizes bounded."""

import colorsys
import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from skdcgn.base.errors import UserError
from skdcgn.data.decoding import check_picture, open_picture, picture_formats, to_rgb

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (8, 8, 4), dtype=np.uint8)
SHARED = Path(os.environ.get("SKDCGN_DATA", "nowhere"))


def pixels(picture):
    return np.asarray(picture).astype(int)


def on_white(colours, alpha):
    """255 (1 - a) + c a, a of 255 levels."""
    share = alpha[..., None].astype(float) / 255
    return 255 * (1 - share) + colours * share


def lab_to_srgb(lab):
    """CIE 15 and IEC 61966-2-1: L*, a*, b* of white D50 -> XYZ -> sRGB, by Lindbloom's adapted matrix."""
    f_y = (lab[..., 0] + 16) / 116
    f = np.stack([f_y + lab[..., 1] / 500, f_y, f_y - lab[..., 2] / 200], -1)
    ratio = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    matrix = [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540],
              [0.0719453, -0.2289914, 1.4052427]]  # fmt: skip
    linear = np.clip(ratio * [0.96422, 1.0, 0.82521] @ np.array(matrix).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def grey(values):
    return np.repeat(np.asarray(values, float)[..., None], 3, -1)


def ycbcr(b):
    """JFIF 1.02."""
    y, cb, cr = (b[..., i].astype(float) - (128 if i else 0) for i in range(3))
    return np.clip(np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1), 0, 255)


PALETTE = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
ALPHAS = RNG.integers(0, 256, 256, dtype=np.uint8)
LAB = np.stack(np.meshgrid(range(60, 201, 20), range(-10, 11, 3), [-8, 7], indexing="ij"), -1).reshape(8, -1, 3)
WIDE = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)


def from_array(mode, array):
    """An image whose memory is the array's bytes."""
    return Image.frombytes(mode, array.shape[1::-1], np.ascontiguousarray(array).tobytes())


def palette_picture(mode="P", **info):
    image = from_array(mode, BYTES[..., :2] if mode == "PA" else BYTES[..., 0])
    image.putpalette(PALETTE.tobytes())
    image.info |= info
    return image


def rgba_palette():
    image = from_array("P", BYTES[..., 0])
    image.putpalette(np.concatenate([PALETTE, ALPHAS[:, None]], 1).tobytes(), "RGBA")
    return image


def with_key(mode, array, key):
    image = from_array(mode, array)
    image.info["transparency"] = key
    return image


def hidden(colours, mask):
    return np.where(mask[..., None], 255, colours)


def unmultiplied(colours, alpha):
    """Premultiplied colours, c a, on white: c a + 255 (1 - a)."""
    return np.clip(colours + (255 - alpha[..., None].astype(float)), 0, 255)


HSV = np.array([colorsys.hsv_to_rgb(*(row / 255)) for row in BYTES[..., :3].reshape(-1, 3)]).reshape(8, 8, 3) * 255
CMYK = (255.0 - BYTES[..., :3]) * (255.0 - BYTES[..., 3:]) / 255
LEVELS = np.minimum(BYTES[..., :3], BYTES[..., 3:])  # premultiplied: no colour above its alpha
P, A = PALETTE[BYTES[..., 0]], ALPHAS[BYTES[..., 0]]
CASES = {
    "1": (from_array("L", BYTES[..., 0]).convert("1", dither=Image.Dither.NONE), grey(255.0 * (BYTES[..., 0] > 127))),
    "L": (from_array("L", BYTES[..., 0]), grey(BYTES[..., 0])),
    "L, one transparent grey": (
        with_key("L", BYTES[..., 0] // 64, 2), hidden(grey(BYTES[..., 0] // 64), BYTES[..., 0] // 64 == 2)
    ),
    "LA": (from_array("LA", BYTES[..., :2]), on_white(grey(BYTES[..., 0]), BYTES[..., 1])),
    "La": (
        from_array("La", np.stack([LEVELS[..., 0], BYTES[..., 3]], -1)),
        unmultiplied(grey(LEVELS[..., 0]), BYTES[..., 3]),
    ),
    "P": (palette_picture(), P),
    "P, alphas": (palette_picture(transparency=ALPHAS.tobytes()), on_white(P, A)),
    "P, one transparent colour": (
        palette_picture(transparency=int(BYTES[0, 0, 0])), hidden(P, BYTES[..., 0] == BYTES[0, 0, 0])
    ),
    "P, palette of RGBA": (rgba_palette(), on_white(P, A)),
    "PA": (palette_picture("PA"), on_white(P, BYTES[..., 1])),
    "RGB": (from_array("RGB", BYTES[..., :3]), BYTES[..., :3]),
    "RGB, one transparent colour": (
        with_key("RGB", BYTES[..., :3] // 128, (1, 0, 1)),
        hidden(BYTES[..., :3] // 128, (BYTES[..., :3] // 128 == [1, 0, 1]).all(-1)),
    ),
    "RGBX": (from_array("RGBX", BYTES), BYTES[..., :3]),
    "RGBA": (from_array("RGBA", BYTES), on_white(BYTES[..., :3], BYTES[..., 3])),
    "RGBa": (
        from_array("RGBa", np.concatenate([LEVELS, BYTES[..., 3:]], -1)), unmultiplied(LEVELS, BYTES[..., 3])
    ),
    "CMYK": (from_array("CMYK", BYTES), CMYK),
    "YCbCr": (from_array("YCbCr", BYTES[..., :3]), ycbcr(BYTES)),
    "HSV": (from_array("HSV", BYTES[..., :3]), HSV),
    "LAB": (
        from_array("LAB", LAB.astype(np.uint8)), lab_to_srgb(LAB * [100 / 255, 1, 1])
    ),
    "I;16": (from_array("I;16", WIDE), grey(WIDE / 257)),
    "I;16L": (from_array("I;16L", WIDE), grey(WIDE / 257)),
    "I;16B": (from_array("I;16B", WIDE.astype(">u2")), grey(WIDE / 257)),
    "I;16N": (Image.new("I;16N", (8, 8), 25700), grey(np.full((8, 8), 100))),
    "I": (Image.fromarray(WIDE.astype(np.int32)), grey(WIDE / 257)),  # from a PNG or PPM file
}  # fmt: skip
TOLERANCES = {"LAB": 3, "HSV": 2, "YCbCr": 1.5, "CMYK": 1.5, "La": 2, "RGBa": 2}


@pytest.mark.parametrize("case", CASES)
def test_every_mode_has_the_value_that_its_definition_gives(case):
    picture, expected = CASES[case]
    colours = to_rgb(picture)
    assert colours.mode == "RGB"
    assert np.abs(pixels(colours) - expected).max() <= TOLERANCES.get(case, 1)


def test_every_mode_of_pillow_has_an_oracle():
    assert set(Image.MODES) - {"F"} == {case.split(",")[0] for case in CASES}


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(size, depth, kind, rows, *more):
    """A PNG, as its specification says: ``kind`` 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha."""
    header = chunk(b"IHDR", struct.pack(">2I5B", *size, depth, kind, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + data + chunk(b"IEND", b"")


def words(*values):
    return struct.pack(f">{len(values)}H", *values)


def file_of(folder, data, name="x.png"):
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize(
    ("depth", "kind", "row", "key", "expected"),
    [
        (1, 0, b"\x60", None, [(0,) * 3, (255,) * 3, (255,) * 3, (0,) * 3]),
        (2, 0, b"\x1b", words(2), [(0,) * 3, (85,) * 3, (255,) * 3, (255,) * 3]),
        (4, 0, b"\x5a\x0f", words(0), [(85,) * 3, (170,) * 3, (255,) * 3, (255,) * 3]),
        (8, 0, b"\x01\x02\x03\x04", words(3), [(1,) * 3, (2,) * 3, (255,) * 3, (4,) * 3]),
        (16, 0, words(0, 25700, 65535, 300), words(300), [(0,) * 3, (100,) * 3, (255,) * 3, (255,) * 3]),
        (16, 0, words(0, 128, 129, 65406), None, [(0,) * 3, (0,) * 3, (1,) * 3, (254,) * 3]),
        (16, 2, words(*[25700] * 6, *[0] * 6), words(0, 0, 0), [(100,) * 3] * 2 + [(255,) * 3] * 2),
        (16, 4, words(25700, 65535, 25700, 0, 0, 65535, 0, 0), None, [(100,) * 3, (255,) * 3, (0,) * 3, (255,) * 3]),
        (16, 6, words(25700, 0, 0, 0, *[65535] * 12), None, [(255,) * 3] * 4),
    ],
)
def test_every_depth_of_png_with_a_transparent_colour(depth, kind, row, key, expected, tmp_path):
    more = (chunk(b"tRNS", key),) if key else ()
    path = file_of(tmp_path, png((4, 1), depth, kind, [row], *more))
    assert [tuple(pixel) for pixel in pixels(open_picture(path))[0]] == expected


def test_a_ramp_of_16_bits_keeps_its_mean(tmp_path):
    """As the issue measured it: 251 of a bare convert("RGB"), 127.5 of the ramp."""
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)[None].repeat(4, 0)
    for name in ("ramp.png", "ramp.tif", "ramp.pgm"):
        Image.fromarray(ramp).save(tmp_path / name)
        assert pixels(open_picture(tmp_path / name)).mean() == pytest.approx(127.5, abs=0.5)


def test_a_cut_out_lies_on_white(tmp_path):
    """As the issue measured it: a mean of 117 with the colours under alpha, of 212 over white."""
    picture = Image.new("RGBA", (100, 100), (117, 117, 117, 0))
    picture.paste((117, 117, 117, 255), (0, 0, 31, 100))
    for name in ("x.png", "x.tif", "x.tga"):
        picture.save(tmp_path / name)
        assert pixels(open_picture(tmp_path / name)).mean() == pytest.approx(0.31 * 117 + 0.69 * 255)


@pytest.mark.parametrize(
    ("mode", "value", "words"), [("F", 0.5, "holds floats"), ("I", 70_000, "holds 32-bit integers")]
)
def test_numbers_without_black_and_white_are_refused(mode, value, words, tmp_path):
    path = tmp_path / "x.tif"
    Image.new(mode, (4, 4), value).save(path)
    for read in (open_picture, check_picture):
        with pytest.raises(UserError, match=rf"x\.tif {words}.*: save it with 8 or 16 bits a channel"):
            read(path)


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tif", "x.avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_every_format_that_has_one_is_upright(orientation, name, tmp_path):
    """EXIF 2.32, 4.6.4: at which side of the picture as it is seen rows and columns of the file begin."""
    upright = np.zeros((32, 48), np.uint8)
    upright[:16, :24], upright[16:, :24] = 255, 128  # what the eye sees
    stored = {
        1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: np.transpose,
        6: lambda x: np.rot90(x, 1), 7: lambda x: np.rot90(x, 2).T, 8: lambda x: np.rot90(x, -1),
    }[orientation](upright)  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).convert("RGB").save(tmp_path / name, exif=exif, quality=95)
    assert np.abs(pixels(open_picture(tmp_path / name))[..., 0] - upright)[4::8, 4::8].max() < 12


def jpeg_with_exif(data):
    file = io.BytesIO()
    Image.new("RGB", (16, 8), "red").save(file, "JPEG", exif=b"Exif\0\0" + data)
    return file.getvalue()


EXIF = b"MM\0*\0\0\0\x08" + words(2) + words(0x0112, 3) + struct.pack(">I", 1) + words(6, 0)
BROKEN = {
    "ends inside": EXIF[:14],
    "no tiff": b"garbage" * 5,
    "next directory in itself": EXIF + words(0x8769, 4) + struct.pack(">3I", 1, 8, 8),
    "a resolution of text": EXIF[:8] + words(1, 0x011A, 2) + struct.pack(">2I", 2**31, 4),
    "orientation of text": EXIF[:8] + words(1, 0x0112, 2) + struct.pack(">I", 4) + b"abc\0" + bytes(4),
    "orientation of nothing": EXIF[:8] + words(1, 0x0112, 3) + struct.pack(">2I", 0, 0),
    "orientation 99": EXIF[:8] + words(1, 0x0112, 3) + struct.pack(">I", 1) + words(99, 0) + bytes(4),
    "no such type": EXIF[:8] + words(1, 0x0112, 77) + struct.pack(">2I", 1, 6) + bytes(4),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_exif_data_kill_no_sound_picture(case, tmp_path):
    path = file_of(tmp_path, jpeg_with_exif(BROKEN[case]), "x.jpg")
    assert open_picture(path).size in ((16, 8), (8, 16))


def test_the_first_of_several_frames_is_the_picture(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for name in ("x.gif", "x.tif", "x.png", "x.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert pixels(open_picture(tmp_path / name))[4, 4] == pytest.approx([255, 0, 0], abs=4)


def as_pillow_reads(path):
    with Image.open(path) as image:
        return image.convert("RGB").tobytes()


def test_ordinary_pictures_have_the_bytes_of_pillow(tmp_path):
    for name in ("x.jpg", "x.png", "x.bmp", "x.webp", "x.gif"):
        Image.fromarray(RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(tmp_path / name)
        assert open_picture(tmp_path / name).tobytes() == as_pillow_reads(tmp_path / name)


@pytest.mark.skipif(not (SHARED / "imagenette").is_dir(), reason="SKDCGN_DATA has no real photographs")
def test_real_pictures_have_the_bytes_of_pillow():
    for part in ("imagenette", "textures", "cue-conflict"):
        files = [file for file in sorted((SHARED / part).rglob("*")) if file.suffix.lower() in picture_formats()]
        assert files
        for file in files[:: max(1, len(files) // 40)]:
            check_picture(file)
            assert open_picture(file).tobytes() == as_pillow_reads(file)


def test_formats_that_pillow_cannot_decode_are_none(tmp_path):
    formats = picture_formats()
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".gif", ".bmp", ".mpo", ".avif", ".jp2"} <= formats.keys()
    assert (
        not {".pdf", ".h5", ".hdf", ".grib", ".bufr", ".eps", ".ps", ".mpg", ".wmf", ".emf", ".palm"} & formats.keys()
    )
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(UserError, match="not a picture"):
        open_picture(tmp_path / "x.png")  # and no other program is started


@pytest.mark.parametrize("read", [open_picture, check_picture])
def test_too_large_is_not_unreadable_and_asks_for_no_memory(read, tmp_path):
    for size in ((20_000, 10_000), (2**31 - 1, 2**31 - 1)):
        with pytest.raises(UserError, match=r"x\.png is too large: at most 134,217,728 pixels"):
            read(file_of(tmp_path, png(size, 8, 2, [b""])))


def refusal_of(path):
    """The message of a UserError, None if the picture is decoded."""
    try:
        open_picture(path)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tif", "x.avif", "x.gif", "x.jp2", "x.tga", "x.blp",
                                  "x.dds", "x.ico", "x.icns", "x.pcx", "x.sgi", "x.qoi", "x.ppm"])  # fmt: skip
def test_damage_is_refused_in_one_line_or_decoded(name, tmp_path):
    """Every format, cut or with wrong bytes in its header: the message names the file, no exception of a decoder."""
    mode = "P" if name == "x.blp" else "RGB"
    Image.fromarray(RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)).convert(mode).save(tmp_path / name)
    whole, rng = (tmp_path / name).read_bytes(), np.random.default_rng(1)
    for trial in range(60):
        data = bytearray(whole)
        for at in rng.integers(0, min(len(data), 200), 1 + trial % 4).tolist():
            data[at] = rng.integers(256)
        del data[int(rng.integers(1, len(data))) if trial % 3 == 0 else len(data) :]
        path = file_of(tmp_path, bytes(data), name)
        refusal = refusal_of(path)
        assert refusal is None or (str(path) in refusal and "\n" not in refusal)


ERRORS = (
    *(IndexError(), struct.error(), NotImplementedError(), zlib.error(), KeyError("x"), ZeroDivisionError()),
    *(MemoryError(), UnicodeDecodeError("utf-8", b"", 0, 1, "x")),
)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_whatever_a_decoder_raises_names_the_file(error, tmp_path, monkeypatch):
    def load(image):
        raise error

    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(UserError, match=r"x\.png is (too large|not a picture)"):
        open_picture(tmp_path / "x.png")


def test_pipes_folders_and_links_to_nothing_are_no_pictures(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("nothing")
    for name, reason in (("pipe", "a pipe"), ("folder", "a folder"), ("link", "a link to a file that does not exist")):
        with pytest.raises(UserError, match=f"{name}.png is {reason}"):
            open_picture(tmp_path / f"{name}.png")


def test_pillows_warnings_stay_silent_in_a_strict_program(tmp_path):
    path = file_of(tmp_path, jpeg_with_exif(BROKEN["a resolution of text"]), "x.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_picture(path).size == (16, 8)
