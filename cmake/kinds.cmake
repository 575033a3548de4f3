# api/*.kinds -> kinds.c by tools/kindsc. Sets KINDS_SOURCES for room(schema).
file(GLOB KINDS_FILES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/api/*.kinds)
add_executable(kindsc tools/kindsc.c tools/kindsc_write.c)
# It runs once and lets the system free its memory; nothing of the tested program is in it.
target_compile_options(kindsc PRIVATE -fno-sanitize=all)
target_link_options(kindsc PRIVATE -fno-sanitize=all)
file(GLOB KINDS_RENDERERS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/schema/openapi*.c)
set(KINDS_SOURCES ${CMAKE_BINARY_DIR}/kinds.c)
add_custom_command(OUTPUT ${KINDS_SOURCES}
  COMMAND kindsc ${KINDS_SOURCES} ${KINDS_FILES} ${KINDS_RENDERERS}
  DEPENDS kindsc ${KINDS_FILES} ${KINDS_RENDERERS} COMMENT "kinds.c from api/*.kinds" VERBATIM)
# A target of its own, so that the tables are made before and without the rooms they are compiled in.
add_custom_target(kinds DEPENDS ${KINDS_SOURCES})

# What kindsc refuses, and how it says so.
add_test(NAME kindsc_refusals
  COMMAND sh ${CMAKE_SOURCE_DIR}/tests/golden/schema/kindsc-refusals.sh $<TARGET_FILE:kindsc>)
