# `make install`: the program, the library (static and shared) with its header, the manual page and bash completion, both made by
# the program itself from its option table, the licence.
add_library(loam_shared SHARED $<TARGET_OBJECTS:loam_objects> ${SIMD_OBJECTS})
set_target_properties(loam_shared PROPERTIES OUTPUT_NAME loam VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
target_link_libraries(loam_shared PRIVATE loam_flags OpenMP::OpenMP_C Threads::Threads PkgConfig::DEPENDENCIES m)

# For `pkg-config loam`, wherever the whole is moved to; what the static library needs besides is listed as private.
file(RELATIVE_PATH PREFIX_FROM_PC /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/loam.pc @ONLY CONTENT [[
prefix=${pcfiledir}/@PREFIX_FROM_PC@
Name: loam
Description: Language models from a text file to an assistant
Version: @PROJECT_VERSION@
Requires.private: yajl yaml-0.1 libpcre2-8 libutf8proc libxxhash
libdir=${prefix}/@CMAKE_INSTALL_LIBDIR@
Libs: -L${libdir} -lloam
Libs.private: -lmicrohttpd -lcurl -lmd4c -lsqlite3 -fopenmp -lpthread -lm
Cflags: -I${prefix}/@CMAKE_INSTALL_INCLUDEDIR@
]])

foreach(page man completion)
    add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/loam.${page} COMMAND loam --${page} > loam.${page} DEPENDS loam
        WORKING_DIRECTORY ${PROJECT_BINARY_DIR} VERBATIM)
endforeach()
add_custom_target(loam_pages ALL DEPENDS ${PROJECT_BINARY_DIR}/loam.man ${PROJECT_BINARY_DIR}/loam.completion)

install(TARGETS loam loam_static loam_shared)
install(FILES include/loam.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_BINARY_DIR}/loam.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${PROJECT_BINARY_DIR}/loam.man DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 RENAME loam.1)
install(FILES ${PROJECT_BINARY_DIR}/loam.completion DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME loam)
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
