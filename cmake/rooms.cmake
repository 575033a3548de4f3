# The rooms of the house and what each may know (docs/architecture.md). tools/check-layers reads
# the same lines: keep one room a line. FACE: the headers that other rooms may include, where these
# are not all; what stands behind such a room is not seen through it.
set(CORACLE_ROOMS base object text schema wire log store apiserver client content controller scheduler runtime network node kustomize template chart trace cli)

room(base       LIBS Threads::Threads)
room(object     DEPENDS base LIBS ${YAML_LIBRARIES} m)
room(text       DEPENDS object base LIBS ${OPENSSL_LIBRARIES})
include(cmake/kinds.cmake OPTIONAL)
room(schema     DEPENDS text object base LIBS ${OPENSSL_LIBRARIES} EXTRA ${KINDS_SOURCES})
room(wire       DEPENDS base LIBS ${OPENSSL_LIBRARIES} ${NGHTTP2_LIBRARIES} ${ZLIB_LIBRARIES})
room(log        DEPENDS base)
room(trace      DEPENDS log wire object base LIBS ${ZSTD_LIBRARIES})
room(store      DEPENDS log object wire base LIBS ${LMDB_LIB})
room(apiserver  DEPENDS store log schema wire object base LIBS ${OPENSSL_LIBRARIES})
room(client     DEPENDS schema wire object base)
room(content    DEPENDS object base LIBS ${OPENSSL_LIBRARIES} ${ZLIB_LIBRARIES} ${ZSTD_LIBRARIES})
room(controller DEPENDS client schema text wire object base)
room(scheduler  DEPENDS client schema wire object base)
room(network    DEPENDS client schema wire object base LIBS ${MNL_LIBRARIES})
room(runtime    FACE runtime.h DEPENDS content wire object base)
room(node       DEPENDS runtime network client schema wire object base LIBS ${OPENSSL_LIBRARIES})
room(kustomize  DEPENDS schema text object base LIBS ${OPENSSL_LIBRARIES})
room(template   DEPENDS text object base LIBS ${OPENSSL_LIBRARIES} crypt m)
room(chart      DEPENDS template content text object base)
room(cli        DEPENDS kustomize client schema wire object base)

# Texts that are kept in the program by .incbin: a change of them must compile their file anew.
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/apiserver/bootstrap.c TARGET_DIRECTORY apiserver PROPERTIES
  COMPILE_DEFINITIONS BOOTSTRAP_DIR="${CMAKE_SOURCE_DIR}/api/bootstrap"
  OBJECT_DEPENDS ${CMAKE_SOURCE_DIR}/api/bootstrap/rbac.yaml)

# The store's bench and faults: programs of their own.
if(TARGET store)
  add_executable(bench_store EXCLUDE_FROM_ALL tests/bench/store_bench.c)
  target_link_libraries(bench_store PRIVATE store)
  file(GLOB faults CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fault/store_*_test.c)
  foreach(fault ${faults})
    get_filename_component(base ${fault} NAME_WE)
    add_executable(fault_${base} EXCLUDE_FROM_ALL ${fault})
    target_include_directories(fault_${base} PRIVATE tests)
    target_link_libraries(fault_${base} PRIVATE store cmocka)
    add_dependencies(fault_tests fault_${base})
    add_test(NAME fault_${base} COMMAND fault_${base})
  endforeach()
endif()

if(TARGET object)
  add_executable(bench_json EXCLUDE_FROM_ALL tests/bench/json_bench.c)
  target_compile_definitions(bench_json PRIVATE SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(bench_json PRIVATE object)
endif()

# The load generator of scripts/bench; knows no room, so that it drives peers the same way.
add_executable(apibench EXCLUDE_FROM_ALL tests/bench/apibench.c)
target_link_libraries(apibench PRIVATE ${OPENSSL_LIBRARIES} Threads::Threads)

# The other end of tests/attack; knows no room either.
add_executable(attacker EXCLUDE_FROM_ALL tests/attack/attacker.c)
target_link_libraries(attacker PRIVATE ${OPENSSL_LIBRARIES})

if(TARGET wire)
  add_executable(bench_http EXCLUDE_FROM_ALL tests/bench/http_bench.c)
  target_include_directories(bench_http PRIVATE tests)
  target_link_libraries(bench_http PRIVATE wire cmocka)
endif()

# What coracle adds to the OCI runtime.
if(TARGET runtime)
  add_executable(bench_runtime EXCLUDE_FROM_ALL tests/bench/runtime_bench.c)
  target_compile_definitions(bench_runtime PRIVATE SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(bench_runtime PRIVATE runtime)
endif()

# Services beside nft, DNS answers without sockets.
if(TARGET network)
  foreach(bench proxy dns)
    add_executable(bench_${bench} EXCLUDE_FROM_ALL tests/bench/${bench}_bench.c)
    target_include_directories(bench_${bench} PRIVATE tests)
    target_link_libraries(bench_${bench} PRIVATE network cmocka)
  endforeach()
endif()
