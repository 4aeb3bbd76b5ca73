/* What the named rules know: names, and how files of a kind end. */
#include "engine/rules_internal.h"

/* Patterns, a line each; no name is in two groups. Siblings: one of these must be beside it. */
const struct sd_known_names sd_known_names[] = {
    {SD_RULE_NO_GIT, NULL,
     ".git\n" /* in a worktree or a submodule it is a file */
     ".hg/\n.svn/\n.bzr/\nCVS/\n_darcs/\n.jj/"},

    {SD_RULE_NO_DEV_DIRS, NULL,
     "node_modules/\nbower_components/\njspm_packages/\n__pycache__/\n__pypackages__/\n.venv/\n"
     ".tox/\n.nox/\n.eggs/\n.mypy_cache/\n.pytest_cache/\n.ruff_cache/\n.ipynb_checkpoints/\n"
     ".gradle/\n.next/\n.nuxt/\n.svelte-kit/\n.parcel-cache/\n.turbo/\n.dart_tool/\n.terraform/\n"
     ".stack-work/\ndist-newstyle/\n.zig-cache/\nzig-cache/\nelm-stuff/\nDerivedData/"
     "\nCMakeFiles/"},
    {SD_RULE_NO_DEV_DIRS, "Cargo.toml pom.xml build.sbt", "target/"},
    {SD_RULE_NO_DEV_DIRS,
     "build.gradle build.gradle.kts CMakeLists.txt meson.build setup.py pyproject.toml"
     " pubspec.yaml package.json",
     "build/"},
    {SD_RULE_NO_DEV_DIRS, "package.json setup.py pyproject.toml", "dist/"},
    {SD_RULE_NO_DEV_DIRS, "composer.json go.mod Gemfile", "vendor/"},
    {SD_RULE_NO_DEV_DIRS, "mix.exs rebar.config dune-project", "_build/"},
    {SD_RULE_NO_DEV_DIRS, "mix.exs", "deps/"},
    {SD_RULE_NO_DEV_DIRS, "Podfile", "Pods/"},
    {SD_RULE_NO_DEV_DIRS, "build.zig", "zig-out/"},

    {SD_RULE_NO_SYSTEM_FILES, NULL,
     ".DS_Store\n._*\n.AppleDouble/\n.AppleDB/\n.AppleDesktop/\n.LSOverride\n.Spotlight-V100/\n"
     ".DocumentRevisions-V100/\n.TemporaryItems/\n.Trashes\n.fseventsd/\n.VolumeIcon.icns\n"
     ".com.apple.timemachine.donotpresent\nIcon\r\n"
     "Thumbs.db\nthumbs.db\nehthumbs.db\nehthumbs_vista.db\ndesktop.ini\nDesktop.ini\n"
     "$RECYCLE.BIN/\n$Recycle.Bin/\nRECYCLER/\nSystem Volume Information/\n"
     "pagefile.sys\nhiberfil.sys\nswapfile.sys\nDumpStack.log.tmp\n"
     "lost+found/\n.directory\n.Trash/\n.Trash-*/\n.fuse_hidden*\n.nfs[0-9a-f]*"},

    {SD_RULE_NO_CACHES, NULL,
     ".cache/\n.ccache/\n.sccache/\n.thumbnails/\n_cacache/\nCode Cache/\nGPUCache/\nShaderCache/\n"
     "GrShaderCache/\nDawnCache/"},
};
const size_t sd_known_names_len = sizeof(sd_known_names) / sizeof(sd_known_names[0]);

/* Extensions in lower case, at most eight bytes each. "ts" is far more often a program. */
const struct sd_known_kind sd_known_kinds[] = {
    {SD_RULE_ONLY_IMAGES,
     "apng arw avif bmp cr2 cr3 crw dds dib dng exr gif hdr heic heif ico jfif jp2 jpe jpeg jpg jxl"
     " nef nrw orf pbm pcx pef pgm png pnm ppm psd raf raw rw2 sr2 srw svg svgz tga tif tiff webp"
     " x3f xbm xcf xpm"},
    {SD_RULE_ONLY_VIDEOS,
     "3g2 3gp 3gpp asf avi divx dv f4v flv m2ts m2v m4v mjpeg mkv mov mp4 mpe mpeg mpg mts mxf ogm"
     " ogv qt rm rmvb vob webm wmv"},
    {SD_RULE_ONLY_AUDIO,
     "aac ac3 aif aifc aiff alac amr ape au caf dff dsf dts flac m4a m4b mid midi mka mp2 mp3 mpc"
     " oga ogg opus ra snd spx tta voc wav weba wma wv"},
    {SD_RULE_ONLY_DOCUMENTS,
     "abw azw azw3 chm csv djv djvu doc docm docx dot dotm dotx dvi epub fb2 fodg fodp fods fodt "
     "key"
     " lit md mobi numbers odg odp ods odt org otp ots ott oxps pages pdf pot potm potx pps ppsm"
     " ppsx ppt pptm pptx ps rst rtf tex tsv txt wpd wps xls xlsb xlsm xlsx xlt xltx xps"},
};
const size_t sd_known_kinds_len = sizeof(sd_known_kinds) / sizeof(sd_known_kinds[0]);
